//! A place in a running server for a router that comes later: a part of the job fills it when it can answer, and empties it when it ends.
//!
//! Holds at most one router; a younger one takes the place of an older one. Nothing is held while a request is answered.

use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use tower_service::Service as _;

/// See the module's documentation. Clones share the place.
#[derive(Debug, Clone, Default)]
pub struct Mount(Arc<RwLock<Place>>);

#[derive(Debug, Default)]
struct Place {
    router: Option<Router>,
    /// Number of the router; rises with each.
    number: u64,
}

/// Empties the place when dropped, unless a younger router has taken it.
#[derive(Debug)]
#[must_use]
pub struct Mounted {
    mount: Mount,
    number: u64,
}

impl Mount {
    /// Takes the place for as long as what is returned lives.
    pub fn fill(&self, router: Router) -> Mounted {
        let mut place = self.0.write().unwrap_or_else(PoisonError::into_inner);
        place.router = Some(router);
        place.number += 1;
        Mounted {
            mount: self.clone(),
            number: place.number,
        }
    }

    /// Whether there is a router now.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        let place = self.0.read().unwrap_or_else(PoisonError::into_inner);
        place.router.is_some()
    }

    /// The answer of the router; `None` without one.
    pub async fn answer(&self, request: Request<Body>) -> Option<Response> {
        let router = {
            let place = self.0.read().unwrap_or_else(PoisonError::into_inner);
            place.router.clone()
        };
        // A router is always ready, and never fails.
        let Ok(answer) = router?.call(request).await;
        Some(answer)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let mut place = self.mount.0.write().unwrap_or_else(PoisonError::into_inner);
        if place.number == self.number {
            place.router = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;

    async fn said(mount: &Mount) -> Option<Vec<u8>> {
        let answer = mount.answer(Request::new(Body::empty())).await?;
        let body = axum::body::to_bytes(answer.into_body(), 100).await.unwrap();
        Some(body.to_vec())
    }

    #[tokio::test]
    async fn a_router_answers_until_it_ends_or_a_younger_one_comes() {
        let mount = Mount::default();
        assert_eq!(said(&mount).await, None);
        let older = mount.fill(Router::new().route("/", get(async || "older")));
        assert_eq!(said(&mount).await.as_deref(), Some(&b"older"[..]));
        let younger = mount.fill(Router::new().route("/", get(async || "younger")));
        drop(older);
        assert_eq!(said(&mount).await.as_deref(), Some(&b"younger"[..]));
        drop(younger);
        assert!(!mount.is_filled());
    }
}
