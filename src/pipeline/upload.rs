//! stub
use super::request::{Request, Verdicts};
use tokio_util::sync::CancellationToken;
pub struct Slot;
pub struct Uploader;
pub struct Abandoned;
impl Uploader {
    pub async fn slot(&self) -> Slot {
        Slot
    }
    pub fn pause(&self) -> crate::ops::status::Pause {
        crate::ops::status::Pause::None
    }
    pub fn max_bytes(&self) -> usize {
        1
    }
    pub async fn upload(
        &self,
        _s: Slot,
        _r: Request,
        _t: &CancellationToken,
    ) -> Result<Verdicts, Abandoned> {
        Err(Abandoned)
    }
}
