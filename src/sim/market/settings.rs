//! Settings of the market and of the faces before it; every one an assumption of myadmin/API.md section 7 where the sources are silent.
//!
//! All may be changed while it runs (`PATCH /control/market/settings`).

use serde::{Deserialize, Serialize};

use crate::sim::faults::{BodyKind, RetryAfter};

/// How the market behaves. Durations carry their unit in the name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `shipmentStatus` of an approved order (3.4).
    pub status_pending: String,
    /// `shipmentStatus` once fulfilled (U2).
    pub status_fulfilled: String,
    /// `shipmentStatus` once cancelled (U2).
    pub status_cancelled: String,
    /// A cancelled order disappears from the list instead (U33).
    pub cancelled_vanish: bool,
    /// Delay until an approved order shows on the REST surface, milliseconds.
    pub order_lag_ms: u64,
    /// An order is fulfilled as soon as nothing is missing, without being told a status.
    pub fulfil_when_complete: bool,
    /// Serials written to units must be of the order's account and product, and on no other unit.
    pub check_units: bool,
    /// Shortest delay until a new serial shows in any list, milliseconds (U15).
    pub visible_min_ms: u64,
    /// Longest delay until a new serial shows in any list, milliseconds (U15).
    pub visible_max_ms: u64,
    /// Delay until a database shows, milliseconds (U15).
    pub database_lag_ms: u64,
    /// What `GetDeviceDatabaseNamesAsync` says of serials it does not know (U17).
    pub absent_rows: AbsentRows,
    /// `GetPartnerDeviceContractsAsync` lists devices that never sent (U16).
    pub partner_shows_silent: bool,
    /// `GetPartnerDeviceContractsAsync` lists terminated devices (U16).
    pub partner_shows_terminated: bool,
    /// Delay from a termination request to its effect, seconds (U30).
    pub termination_delay_s: u64,
    /// A terminated device that sends again is billed again (2.7).
    pub resume_billing: bool,
    /// The termination sheet is published this often, seconds.
    pub sheet_every_s: u64,
    /// Time of day of the sheet, seconds after midnight UTC.
    pub sheet_at_s: u64,
    /// Days a termination stays on the sheet.
    pub sheet_days: u32,
    /// Columns of the sheet (U27).
    pub sheet_columns: Vec<Column>,
    /// Dates of the sheet, as `strftime` has it.
    pub sheet_date_format: String,
    /// Between the columns.
    pub sheet_delimiter: char,
    /// What is wrong with the sheet.
    pub sheet_spoiled: Spoiled,
    /// `Provision*` throws, as in the vendor's sandbox (1.1).
    pub sandbox: bool,
    /// Life of a session, seconds (1.4, U21).
    pub session_s: u64,
    /// A session not used for so long expires, seconds; 0 is never (1.4).
    pub session_idle_s: u64,
    /// Error messages end in ` (Ref ID: guid)` (1.3).
    pub ref_ids: bool,
    /// Members without a value are written as null instead of left out (U23).
    pub null_members: bool,
    /// Ids on the REST surface are written as text (U24).
    pub ids_as_text: bool,
    /// Role for the REST surface; empty for none (U25).
    pub partner_role: String,
    /// What errors of the REST surface look like (U6).
    pub rest_errors: RestErrors,
    /// The REST surface takes writes (U1).
    pub rest_writes: bool,
    /// `GET {base}/{id}` exists (U3).
    pub single_order: bool,
    /// Orders on the REST surface show `carrier` and `trackingNumber` once written.
    pub echo_shipment: bool,
    /// `Page`, `PerPage`, `Total` and `Link` are sent (U4).
    pub paging_headers: bool,
    /// The list's order changes from call to call (U4).
    pub unstable_order: bool,
    /// Page size when none is asked for (1.6).
    pub page_default: usize,
    /// Largest page of the offset and keyset schemes (1.6).
    pub page_cap: usize,
    /// Page size of the `nextId` scheme (1.6).
    pub next_id_page: usize,
    /// Most rows of a method without paging (1.5).
    pub most_rows: usize,
    /// Most serials a call may name (U18).
    pub most_serials: usize,
    /// Rate limits (1.5, U19).
    pub limits: Vec<Limit>,
    /// `Retry-After` of 429 (U20).
    pub limit_retry_after: RetryAfter,
    /// Body of 429 (U20).
    pub limit_body: BodyKind,
}

impl Default for Settings {
    fn default() -> Self {
        let column = |name: &str, field| Column {
            name: name.to_owned(),
            field,
        };
        Self {
            status_pending: "PendingFulfillment".to_owned(),
            status_fulfilled: "Fulfilled".to_owned(),
            status_cancelled: "Cancelled".to_owned(),
            cancelled_vanish: false,
            order_lag_ms: 0,
            fulfil_when_complete: false,
            check_units: true,
            visible_min_ms: 0,
            visible_max_ms: 2000,
            database_lag_ms: 0,
            absent_rows: AbsentRows::Omit,
            partner_shows_silent: true,
            partner_shows_terminated: false,
            termination_delay_s: 3600,
            resume_billing: true,
            sheet_every_s: 86_400,
            sheet_at_s: 6 * 3600,
            sheet_days: 30,
            sheet_columns: vec![
                column("Serial Number", SheetField::Serial),
                column("Termination Date", SheetField::Terminated),
                column("Account", SheetField::Account),
                column("Reason", SheetField::Reason),
            ],
            sheet_date_format: "%Y-%m-%d".to_owned(),
            sheet_delimiter: ',',
            sheet_spoiled: Spoiled::No,
            sandbox: false,
            session_s: 7 * 86_400,
            session_idle_s: 0,
            ref_ids: true,
            null_members: false,
            ids_as_text: false,
            partner_role: "Third-Party-Integrator".to_owned(),
            rest_errors: RestErrors::Message,
            rest_writes: true,
            single_order: true,
            echo_shipment: true,
            paging_headers: true,
            unstable_order: false,
            page_default: 20,
            page_cap: 100,
            next_id_page: 1000,
            most_rows: 100_000,
            most_serials: 5000,
            limits: Limit::published(),
            limit_retry_after: RetryAfter::None,
            limit_body: BodyKind::Empty,
        }
    }
}

/// How a serial without an answer is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbsentRows {
    /// No row.
    Omit,
    /// A row without an owner.
    Empty,
}

/// What a REST error's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestErrors {
    /// Plain text.
    Text,
    /// `{"message": "..."}`.
    Message,
}

/// A column of the termination sheet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    pub name: String,
    pub field: SheetField,
}

/// What a column of the sheet shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SheetField {
    Serial,
    /// Day the termination took effect.
    Terminated,
    /// Day it was asked for.
    Requested,
    Account,
    Reason,
    Comments,
    ProductCode,
    Database,
}

/// What is wrong with the sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spoiled {
    No,
    /// Nothing at all.
    Blank,
    /// The first line only.
    HeaderOnly,
    /// The first half of its rows.
    Halved,
    /// The rows without the first line.
    NoHeader,
    /// A sign-in page.
    Html,
}

/// How much may be asked in how long. The most specific that fits counts; limits per address count besides (1.5).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// `v2`, `v3` or `partner`; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// A method's name; any when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(default)]
    pub per: Per,
    /// Requests, or with `rows` the rows they returned.
    pub most: u64,
    pub seconds: u64,
    /// Counts rows returned, per method.
    #[serde(default)]
    pub rows: bool,
}

/// Whose requests count together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// Those of one user; before a login, those that name one user.
    #[default]
    User,
    /// Those of one network address, whatever they ask.
    Address,
}

impl Limit {
    /// The lowest published figures (1.5, U19).
    #[must_use]
    pub fn published() -> Vec<Self> {
        let limit = |endpoint: Option<&str>, method: Option<&str>, most, seconds| Self {
            endpoint: endpoint.map(str::to_owned),
            method: method.map(str::to_owned),
            per: Per::User,
            most,
            seconds,
            rows: false,
        };
        vec![
            limit(None, None, 5000, 60),
            limit(None, None, 100_000, 3600),
            limit(Some("v2"), None, 375, 60),
            limit(Some("v2"), None, 22_000, 3600),
            limit(None, Some("Authenticate"), 10, 60),
            limit(None, Some("GetDeviceContracts"), 1250, 900),
            Self {
                per: Per::Address,
                ..limit(None, None, 10_000, 600)
            },
            Self {
                rows: true,
                ..limit(None, None, 150_000, 60)
            },
        ]
    }
}

impl Settings {
    /// No rate limits and no lags: for tests of something else.
    #[must_use]
    pub fn prompt() -> Self {
        Self {
            limits: Vec::new(),
            visible_max_ms: 0,
            termination_delay_s: 0,
            ..Self::default()
        }
    }
}
