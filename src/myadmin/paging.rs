//! Pages of a long answer, by every published scheme (myadmin-api.md 1.6 and U4). Pure.
//!
//! A [`Pager`] says what to ask for next and is told what came. Invariants:
//! * P-a: every row that has an id comes out once, however often the server repeats it: a list may shift while it is read.
//! * P-b: a page that brings nothing new ends the sweep, so that no server can keep us asking for ever.
//! * P-c: the server's own numbers (total, page size, next cursor) count for more than what was asked for.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::members::whole;
use super::rpc::Pagination;

/// Rows of a full page of the v2 scheme.
const V2_PAGE: usize = 1_000;
/// The default page size of v3 and REST: a page of fewer rows is short whatever size was asked for.
const SMALLEST_PAGE: i64 = 20;

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

    /// Takes the rows of one page; returns how many there were, how many were new, and the last row's id.
    fn take(&mut self, rows: Vec<Value>) -> (i64, usize, Option<i64>) {
        let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let (mut fresh, mut last) = (0, None);
        for row in rows {
            last = id_of(&row);
            if last.is_none_or(|id| self.seen.insert(id)) {
                fresh += 1;
                self.rows.push(row);
            }
        }
        (count, fresh, last)
    }

    /// Takes one page of a JSON-RPC answer.
    pub fn turn(&mut self, rows: Vec<Value>, said: Option<&Pagination>) -> Turn {
        let (count, fresh, last) = self.take(rows);
        let more = match self.scheme {
            Scheme::NextId => {
                let grows = last.is_some_and(|id| id > self.next_id);
                if let Some(id) = last {
                    self.next_id = id;
                }
                grows && count >= V2_PAGE as i64
            }
            Scheme::Offset => {
                let (total, per_page) = said.map_or((None, None), |p| (p.total, p.per_page));
                self.more_pages(count, total, per_page)
            }
            Scheme::Keyset => self.more_keys(said.and_then(|said| said.next_cursor.clone())),
        };
        // P-b; rows without an id are always new, so an empty page ends those.
        if more && fresh > 0 {
            Turn::More
        } else {
            Turn::Last
        }
    }

    /// Takes one page of a REST answer.
    pub fn turn_rest(&mut self, rows: Vec<Value>, said: &PageHeaders) -> Turn {
        let (count, fresh, _) = self.take(rows);
        let more = match self.scheme {
            Scheme::NextId | Scheme::Offset => {
                let pages = self.more_pages(count, said.total, said.per_page);
                said.link_next.unwrap_or(pages)
            }
            Scheme::Keyset => self.more_keys(said.next_cursor.clone()),
        };
        if more && fresh > 0 {
            Turn::More
        } else {
            Turn::Last
        }
    }

    fn more_pages(&mut self, count: i64, total: Option<i64>, per_page: Option<i64>) -> bool {
        // The server may have capped the size without saying so (1.6): then only a page smaller than any default is short.
        let full = per_page.unwrap_or(self.asked.min(SMALLEST_PAGE));
        let read = per_page.map(|size| self.page.saturating_mul(size));
        self.page += 1;
        match (total, read) {
            (Some(total), Some(read)) => read < total,
            (Some(total), None) => (self.rows.len() as i64) < total,
            (None, _) => count >= full,
        }
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
mod tests {
    use super::*;

    fn rows(ids: std::ops::Range<i64>) -> Vec<Value> {
        ids.map(|id| json!({ "id": id })).collect()
    }

    fn said(page: i64, per_page: i64, total: i64) -> Pagination {
        Pagination {
            page: Some(page),
            per_page: Some(per_page),
            total: Some(total),
            next_cursor: None,
        }
    }

    #[test]
    fn next_id_is_the_last_rows_and_a_page_below_a_thousand_is_the_last() {
        let mut pager = Pager::by_next_id();
        let mut params = Map::new();
        assert_eq!(pager.ask(&mut params), None);
        assert_eq!(params["nextId"], 0);
        assert_eq!(pager.turn(rows(1..1001), None), Turn::More);
        pager.ask(&mut params);
        assert_eq!(params["nextId"], 1000);
        assert_eq!(pager.turn(rows(1001..1500), None), Turn::Last);
        assert_eq!(pager.rows().len(), 1499);
    }

    #[test]
    fn a_server_that_repeats_itself_is_not_asked_for_ever() {
        let mut pager = Pager::by_next_id();
        assert_eq!(pager.turn(rows(1..1001), None), Turn::More);
        assert_eq!(pager.turn(rows(1..1001), None), Turn::Last);
        assert_eq!(pager.rows().len(), 1000);
        let mut pager = Pager::by(Style::Offset, 100);
        assert_eq!(
            pager.turn_rest(rows(0..100), &PageHeaders::default()),
            Turn::More
        );
        assert_eq!(
            pager.turn_rest(rows(0..100), &PageHeaders::default()),
            Turn::Last
        );
        assert_eq!(pager.rows().len(), 100);
        let mut pager = Pager::by(Style::Keyset, 100);
        let cursor = Pagination {
            next_cursor: Some("c".to_owned()),
            ..Pagination::default()
        };
        assert_eq!(pager.turn(rows(0..100), Some(&cursor)), Turn::More);
        assert_eq!(
            pager.turn(rows(100..200), Some(&cursor)),
            Turn::Last,
            "the same cursor again"
        );
    }

    #[test]
    fn offsets_trust_the_reply_over_what_was_asked() {
        let mut pager = Pager::by(Style::Offset, 500);
        assert_eq!(
            pager.ask(&mut Map::new()),
            Some(json!({"page": 1, "perPage": 500}))
        );
        assert_eq!(
            pager.turn(rows(0..100), Some(&said(1, 100, 150))),
            Turn::More
        );
        assert_eq!(
            pager.ask(&mut Map::new()),
            Some(json!({"page": 2, "perPage": 500}))
        );
        assert_eq!(
            pager.turn(rows(100..150), Some(&said(2, 100, 150))),
            Turn::Last
        );
        assert_eq!(pager.len(), 150);
        let mut silent = Pager::by(Style::Offset, 100);
        assert_eq!(
            silent.turn(rows(0..20), None),
            Turn::More,
            "perhaps capped in silence"
        );
        assert_eq!(silent.turn(rows(20..25), None), Turn::Last);
    }

    #[test]
    fn keysets_follow_the_cursor_to_its_end() {
        let mut pager = Pager::by(Style::Keyset, 50);
        assert_eq!(
            pager.ask(&mut Map::new()),
            Some(json!({"type": "keyset", "perPage": 50}))
        );
        let next = Pagination {
            next_cursor: Some("abc".to_owned()),
            ..Pagination::default()
        };
        assert_eq!(pager.turn(rows(0..50), Some(&next)), Turn::More);
        assert_eq!(pager.ask(&mut Map::new()).unwrap()["cursor"], "abc");
        assert_eq!(
            pager.turn(rows(50..60), Some(&Pagination::default())),
            Turn::Last
        );
    }

    #[test]
    fn rest_pages_end_by_total_link_or_a_short_page() {
        let headers = |total, link_next| PageHeaders {
            total,
            link_next,
            ..PageHeaders::default()
        };
        let mut by_total = Pager::by(Style::Offset, 100);
        assert_eq!(
            by_total.turn_rest(rows(0..100), &headers(Some(200), None)),
            Turn::More
        );
        assert_eq!(
            by_total.turn_rest(rows(100..200), &headers(Some(200), None)),
            Turn::Last
        );
        let mut by_link = Pager::by(Style::Offset, 100);
        assert_eq!(
            by_link.turn_rest(rows(0..5), &headers(None, Some(true))),
            Turn::More
        );
        assert_eq!(
            by_link.turn_rest(rows(5..105), &headers(None, Some(false))),
            Turn::Last
        );
        let mut by_size = Pager::by(Style::Offset, 100);
        assert_eq!(
            by_size.turn_rest(rows(0..19), &PageHeaders::default()),
            Turn::Last
        );
        let capped = PageHeaders {
            per_page: Some(5),
            ..PageHeaders::default()
        };
        let mut by_said_size = Pager::by(Style::Offset, 100);
        assert_eq!(by_said_size.turn_rest(rows(0..5), &capped), Turn::More);
        assert_eq!(by_said_size.turn_rest(rows(5..8), &capped), Turn::Last);
        assert_eq!(
            by_size.turn_rest(Vec::new(), &headers(Some(900), Some(true))),
            Turn::Last,
            "an empty page"
        );
    }

    #[test]
    fn a_list_that_shifts_gives_every_row_once() {
        let mut pager = Pager::by(Style::Offset, 20);
        assert_eq!(
            pager.turn_rest(rows(0..20), &PageHeaders::default()),
            Turn::More
        );
        assert_eq!(
            pager.turn_rest(rows(15..35), &PageHeaders::default()),
            Turn::More
        );
        assert_eq!(
            pager.turn_rest(rows(35..36), &PageHeaders::default()),
            Turn::Last
        );
        let ids: Vec<_> = pager.rows().iter().filter_map(id_of).collect();
        assert_eq!(ids, (0..36).collect::<Vec<_>>());
    }

    #[test]
    fn queries_are_spelled_as_the_settings_say() {
        let pager = Pager::by(Style::Offset, 100);
        assert_eq!(
            pager.query(SizeName::Camel),
            [("perPage", "100".to_owned()), ("page", "1".to_owned())]
        );
        assert_eq!(pager.query(SizeName::Snake)[0].0, "per_page");
        assert!(
            Pager::by(Style::Keyset, 9)
                .query(SizeName::Camel)
                .contains(&("pagination", "keyset".to_owned()))
        );
        assert!(PageHeaders::names_next(
            r#"<https://a/?page=1>; rel="prev", <https://a/?page=3>; rel="next""#
        ));
        assert!(
            PageHeaders::names_next("<x>;rel=next") && !PageHeaders::names_next("<next>; rel=last")
        );
    }
}
