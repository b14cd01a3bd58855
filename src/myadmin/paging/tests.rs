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

#[test]
fn a_list_that_shifts_is_read_again_while_its_total_says_that_rows_are_missing() {
    let of = |total| PageHeaders {
        total: Some(total),
        per_page: Some(20),
        ..PageHeaders::default()
    };
    let mut pager = Pager::by(Style::Offset, 20);
    let page = |pager: &Pager| pager.query(SizeName::Camel)[1].1.clone();
    assert_eq!(pager.turn_rest(rows(0..20), &of(60)), Turn::More);
    assert_eq!(
        pager.turn_rest(rows(0..20), &of(60)),
        Turn::More,
        "one page without news"
    );
    assert_eq!(
        pager.turn_rest(rows(40..60), &of(60)),
        Turn::More,
        "from the beginning"
    );
    assert_eq!(page(&pager), "1");
    assert_eq!(pager.turn_rest(rows(0..20), &of(60)), Turn::More);
    assert_eq!(page(&pager), "2");
    assert_eq!(pager.turn_rest(rows(20..40), &of(60)), Turn::More);
    assert_eq!(pager.turn_rest(rows(40..60), &of(60)), Turn::Last);
    assert_eq!(pager.rows().len(), 60);
}

#[test]
fn a_total_that_never_comes_true_ends_all_the_same() {
    let of = |total| PageHeaders {
        total: Some(total),
        ..PageHeaders::default()
    };
    let mut pager = Pager::by(Style::Offset, 20);
    let mut pages = 1;
    while pager.turn_rest(rows(0..20), &of(i64::MAX)) == Turn::More {
        pages += 1;
    }
    assert!(pages <= 20, "{pages}");
    assert_eq!(pager.rows().len(), 20);
    // Nothing shifted, so there is nothing to be found by reading again.
    let mut pager = Pager::by(Style::Offset, 20);
    assert_eq!(pager.turn_rest(rows(0..20), &of(50)), Turn::More);
    assert_eq!(pager.turn_rest(rows(20..40), &of(50)), Turn::More);
    assert_eq!(pager.turn_rest(Vec::new(), &of(50)), Turn::Last);
}
