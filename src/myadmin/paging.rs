//! Pages of a long answer, by every published scheme (myadmin/API.md 1.6 and U4). Pure.
//!
//! A `Pager` says what to ask for next and is told what came. Invariants:
//! * P-a: every row that has an id comes out once, however often the server repeats it: a list may shift while it is read.
//! * P-b: pages that bring nothing new end the sweep, so that no server can keep us asking for ever.
//! * P-c: the server's own numbers (total, page size, next cursor) count for more than what was asked for.
//! * P-d: a list that has shifted, and by its total has more rows than came, is read again, a few times at most.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::members::whole;
use super::rpc::Pagination;

/// Rows of a full page of the v2 scheme.
const V2_PAGE: usize = 1_000;
/// The default page size of v3 and REST: a page of fewer rows is short whatever size was asked for.
const SMALLEST_PAGE: i64 = 20;
/// Pages without a new row that end a sweep whose total says that there is more: where a list shifts, one may be like that.
const STALE_PAGES: i64 = 3;
/// How often a list that shifts is read.
const PASSES: u32 = 3;

/// How v3 calls and REST lists are paged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// By number: `page` from 1.
    #[default]
    Offset,
    /// By a cursor that the answer gives.
    Keyset,
}

/// How the size of a REST page is spelled: the sources differ (U4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SizeName {
    #[default]
    #[serde(rename = "perPage")]
    Camel,
    #[serde(rename = "per_page")]
    Snake,
}

impl SizeName {
    fn text(self) -> &'static str {
        match self {
            Self::Camel => "perPage",
            Self::Snake => "per_page",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    NextId,
    Offset,
    Keyset,
}

/// What the headers of a REST answer say of its page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PageHeaders {
    pub total: Option<i64>,
    pub per_page: Option<i64>,
    pub next_cursor: Option<String>,
    /// Whether `Link` names a next page; `None` without that header.
    pub link_next: Option<bool>,
}

impl PageHeaders {
    /// Whether a `Link` header names a next page (RFC 8288).
    pub fn names_next(link: &str) -> bool {
        link.split(',').any(|link| {
            link.split(';').skip(1).any(|parameter| {
                let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
                name.trim().eq_ignore_ascii_case("rel")
                    && value
                        .trim()
                        .trim_matches('"')
                        .split(' ')
                        .any(|word| word.eq_ignore_ascii_case("next"))
            })
        })
    }
}

/// Whether there is more to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    More,
    Last,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pager {
    scheme: Scheme,
    asked: i64,
    page: i64,
    next_id: i64,
    cursor: Option<String>,
    seen: HashSet<i64>,
    rows: Vec<Value>,
    /// Rows of this pass, and how many of its last pages brought nothing new.
    read: i64,
    stale: i64,
    /// This pass has seen a row again: the list has shifted.
    repeated: bool,
    pass: u32,
    /// Pages of the first pass, once it is over: in later ones most bring nothing new.
    pages: i64,
}

/// One page's rows, taken.
struct Taken {
    count: i64,
    fresh: i64,
    last: Option<i64>,
}

impl Pager {
    fn new(scheme: Scheme, per_page: u32) -> Self {
        Self {
            scheme,
            asked: i64::from(per_page),
            page: 1,
            next_id: 0,
            cursor: None,
            seen: HashSet::new(),
            rows: Vec::new(),
            read: 0,
            stale: 0,
            repeated: false,
            pass: 1,
            pages: 0,
        }
    }

    /// The v2 scheme: `nextId` in the parameters.
    pub fn by_next_id() -> Self {
        Self::new(Scheme::NextId, 0)
    }

    /// The v3 and REST schemes.
    pub fn by(style: Style, per_page: u32) -> Self {
        let scheme = match style {
            Style::Offset => Scheme::Offset,
            Style::Keyset => Scheme::Keyset,
        };
        Self::new(scheme, per_page)
    }

    /// What to put into a JSON-RPC call; returns the `pagination` beside its parameters, if any.
    pub fn ask(&self, params: &mut Map<String, Value>) -> Option<Value> {
        match self.scheme {
            Scheme::NextId => {
                params.insert("nextId".to_owned(), self.next_id.into());
                None
            }
            Scheme::Offset => Some(json!({ "page": self.page, "perPage": self.asked })),
            Scheme::Keyset => {
                let mut page = json!({ "type": "keyset", "perPage": self.asked });
                if let Some(cursor) = &self.cursor {
                    page["cursor"] = cursor.as_str().into();
                }
                Some(page)
            }
        }
    }

    /// What to put into the query of a REST call.
    pub fn query(&self, size: SizeName) -> Vec<(&'static str, String)> {
        let mut query = vec![(size.text(), self.asked.to_string())];
        match self.scheme {
            Scheme::NextId | Scheme::Offset => query.push(("page", self.page.to_string())),
            Scheme::Keyset => {
                query.push(("pagination", "keyset".to_owned()));
                if let Some(cursor) = &self.cursor {
                    query.push(("cursor", cursor.clone()));
                }
            }
        }
        query
    }

    fn take(&mut self, rows: Vec<Value>) -> Taken {
        let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let (mut fresh, mut last) = (0, None);
        for row in rows {
            last = id_of(&row);
            if last.is_none_or(|id| self.seen.insert(id)) {
                fresh += 1;
                self.rows.push(row);
            }
        }
        self.read += count;
        self.repeated |= fresh < count;
        self.stale = if fresh > 0 { 0 } else { self.stale + 1 };
        Taken { count, fresh, last }
    }

    /// Takes one page of a JSON-RPC answer.
    pub fn turn(&mut self, rows: Vec<Value>, said: Option<&Pagination>) -> Turn {
        let taken = self.take(rows);
        let total = said.and_then(|said| said.total);
        let more = match self.scheme {
            Scheme::NextId => {
                let grows = taken.last.is_some_and(|id| id > self.next_id);
                if let Some(id) = taken.last {
                    self.next_id = id;
                }
                grows && taken.count >= V2_PAGE as i64
            }
            Scheme::Offset => {
                self.more_pages(taken.count, total, said.and_then(|said| said.per_page))
            }
            Scheme::Keyset => self.more_keys(said.and_then(|said| said.next_cursor.clone())),
        };
        self.go_on(more, &taken, total)
    }

    /// Takes one page of a REST answer.
    pub fn turn_rest(&mut self, rows: Vec<Value>, said: &PageHeaders) -> Turn {
        let taken = self.take(rows);
        let more = match self.scheme {
            Scheme::NextId | Scheme::Offset => {
                let pages = self.more_pages(taken.count, said.total, said.per_page);
                said.link_next.unwrap_or(pages)
            }
            Scheme::Keyset => self.more_keys(said.next_cursor.clone()),
        };
        self.go_on(more, &taken, said.total)
    }

    /// P-b and P-d. Rows without an id are always new, so an empty page ends those.
    fn go_on(&mut self, more: bool, taken: &Taken, total: Option<i64>) -> Turn {
        let lacking = total.is_some_and(|total| (self.rows.len() as i64) < total);
        let stale = if lacking {
            STALE_PAGES.max(self.pages)
        } else {
            1
        };
        if more && taken.count > 0 && (taken.fresh > 0 || self.stale < stale) {
            return Turn::More;
        }
        if self.scheme == Scheme::Offset && self.repeated && lacking && self.pass < PASSES {
            if self.pass == 1 {
                self.pages = self.page;
            }
            (self.page, self.read, self.stale, self.repeated) = (1, 0, 0, false);
            self.pass += 1;
            return Turn::More;
        }
        Turn::Last
    }

    fn more_pages(&mut self, count: i64, total: Option<i64>, per_page: Option<i64>) -> bool {
        self.page += 1;
        // The server may have capped the size without saying so (1.6): then only a page smaller than any default is short.
        let full = per_page.unwrap_or(self.asked.min(SMALLEST_PAGE));
        total.map_or(count >= full, |total| self.read < total)
    }

    fn more_keys(&mut self, next: Option<String>) -> bool {
        let more = next.is_some() && next != self.cursor;
        self.cursor = next;
        more
    }

    /// All rows, in the order they came.
    pub fn rows(self) -> Vec<Value> {
        self.rows
    }

    /// How many rows there are so far.
    pub fn len(&self) -> usize {
        self.rows.len()
    }
}

fn id_of(row: &Value) -> Option<i64> {
    let row = row.as_object()?;
    let id = row.get("id").or_else(|| {
        let any_case = row.iter().find(|(key, _)| key.eq_ignore_ascii_case("id"));
        any_case.map(|(_, value)| value)
    });
    whole(id?)
}

#[cfg(test)]
mod tests;
