//! The daily sheet of terminations (myadmin/API.md section 5): published at fixed times of the world's clock, unchanged in between.

use std::fmt::Write as _;

use super::devices::{Device, Termination};
use super::{Market, SheetField, Spoiled};

/// The reasons `GetTerminationReasons` lists: id and name.
pub const REASONS: [(i64, &str); 4] = [
    (1, "Device no longer needed"),
    (2, "Vehicle sold"),
    (3, "Customer left"),
    (4, "Device faulty"),
];

/// The name of a reason.
#[must_use]
pub fn reason(id: i64) -> Option<&'static str> {
    REASONS
        .iter()
        .find(|(known, _)| *known == id)
        .map(|(_, name)| *name)
}

const SIGN_IN: &str = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Sign in to continue</body></html>\n";

impl Market {
    /// When the sheet that is out at `now` was published.
    #[must_use]
    pub fn sheet_published(&self, now: i64) -> i64 {
        let every = (self.settings.sheet_every_s.max(1) as i64).saturating_mul(1_000_000);
        let at = self.settings.sheet_at_s as i64 * 1_000_000;
        (now - at).div_euclid(every) * every + at
    }

    /// The sheet that is out at `now`: terminations that had taken effect when it was published, the oldest first.
    #[must_use]
    pub fn sheet(&self, now: i64) -> String {
        let settings = &self.settings;
        let until = self.sheet_published(now);
        let from = until - i64::from(settings.sheet_days) * 86_400_000_000;
        let mut rows: Vec<(&Device, &Termination)> = self
            .devices()
            .iter()
            .flat_map(|device| {
                let all = device.past.iter().chain(&device.termination);
                all.map(move |termination| (device, termination))
            })
            .filter(|(_, termination)| (from..=until).contains(&termination.effective_us))
            .collect();
        rows.sort_by_key(|(_, termination)| termination.effective_us);
        let mut header = Some(&settings.sheet_columns);
        match settings.sheet_spoiled {
            Spoiled::No => {}
            Spoiled::Blank => return String::new(),
            Spoiled::Html => return SIGN_IN.to_owned(),
            Spoiled::HeaderOnly => rows.clear(),
            Spoiled::Halved => rows.truncate(rows.len() / 2),
            Spoiled::NoHeader => header = None,
        }
        let mut out = String::new();
        if let Some(columns) = header {
            self.line(&mut out, columns.iter().map(|column| column.name.clone()));
        }
        for (device, termination) in rows {
            let cells = settings
                .sheet_columns
                .iter()
                .map(|column| self.cell(column.field, device, termination));
            self.line(&mut out, cells);
        }
        out
    }

    fn cell(&self, field: SheetField, device: &Device, termination: &Termination) -> String {
        let day = |us| {
            let at = jiff::Timestamp::from_microsecond(us).unwrap_or_default();
            // A format that is none shows itself.
            jiff::fmt::strtime::format(&self.settings.sheet_date_format, at)
                .unwrap_or_else(|_| self.settings.sheet_date_format.clone())
        };
        match field {
            SheetField::Serial => device.serial.clone(),
            SheetField::Terminated => day(termination.effective_us),
            SheetField::Requested => day(termination.requested_us),
            SheetField::Account => device.account.clone(),
            SheetField::Reason => reason(termination.reason_id).unwrap_or_default().to_owned(),
            SheetField::Comments => termination.comments.clone(),
            SheetField::ProductCode => device.product_code.clone(),
            SheetField::Database => termination.database.clone(),
        }
    }

    fn line(&self, out: &mut String, cells: impl Iterator<Item = String>) {
        let delimiter = self.settings.sheet_delimiter;
        for (at, cell) in cells.enumerate() {
            if at > 0 {
                out.push(delimiter);
            }
            if cell.contains([delimiter, '"', '\n', '\r']) {
                // Writing to a text cannot fail.
                let _ = write!(out, "\"{}\"", cell.replace('"', "\"\""));
            } else {
                out.push_str(&cell);
            }
        }
        out.push_str("\r\n");
    }
}
