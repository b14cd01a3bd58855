//! Long answers: every scheme of paging, and the spellings of what is in them.

use std::collections::BTreeSet;

use dig_ingest::myadmin::methods::Versions;
use dig_ingest::myadmin::paging::{SizeName, Style};
use dig_ingest::myadmin::rpc::Encoding;
use dig_ingest::myadmin::wire::{ContractFilter, LineUnit};

use super::*;

/// More than two pages of the `nextId` scheme.
const DEVICES: usize = 2_100;
const ORDERS: usize = 130;

fn stocked(sim: &Handle, count: usize) -> BTreeSet<String> {
    sim.market(|market, now| {
        let mut make = || market.make(PRODUCT, market::PARTNER, market::INTEGRATOR, now);
        (0..count).map(|_| make().unwrap()).collect()
    })
}

fn versions(text: &str) -> Versions {
    toml::from_str(text).unwrap()
}

async fn contracts(client: &Client) -> Result<BTreeSet<String>, Error> {
    let filter = ContractFilter {
        for_account: market::PARTNER.to_owned(),
        window: Some(week()),
        ..ContractFilter::default()
    };
    let contracts = bounded("contracts", client.device_contracts(&filter)).await?;
    let count = contracts.len();
    let serials: BTreeSet<_> = contracts
        .into_iter()
        .map(|contract| contract.serial.unwrap())
        .collect();
    assert_eq!(serials.len(), count, "each once");
    Ok(serials)
}

#[tokio::test]
async fn contracts_are_read_whole_by_every_scheme() {
    let sim = prompt().await;
    let there = stocked(&sim, DEVICES);
    let v3 = Operation::GetDeviceContracts;
    for paging in [Style::Offset, Style::Keyset] {
        let before = calls(&sim, v3);
        let client = partner(&sim, |config| config.contracts_paging = paging);
        assert_eq!(contracts(&client).await.unwrap(), there, "{paging:?}");
        assert_eq!(calls(&sim, v3) - before, 21, "{paging:?}");
    }
    let client = partner(&sim, |config| {
        config.versions = versions("GetDeviceContracts = \"v2\"");
    });
    assert_eq!(contracts(&client).await.unwrap(), there);
    assert_eq!(calls(&sim, Operation::GetDeviceContractsByPage), 3);
    // A server that gives fewer rows than are asked for.
    sim.market(|market, _| market.settings.page_cap = 70);
    for paging in [Style::Offset, Style::Keyset] {
        let client = partner(&sim, |config| config.contracts_paging = paging);
        assert_eq!(contracts(&client).await.unwrap(), there, "{paging:?}");
    }
    sim.stop().await;
}

#[tokio::test]
async fn contracts_are_narrowed_by_their_filters() {
    let sim = prompt().await;
    let there: Vec<String> = stocked(&sim, 4).into_iter().collect();
    sim.market(|market, now| market.assign(&there[1], "a_database", now))
        .unwrap();
    let client = partner(&sim, |_| {});
    let shown = async |filter: ContractFilter| {
        let filter = ContractFilter {
            for_account: market::PARTNER.to_owned(),
            window: Some(week()),
            ..filter
        };
        let found = client.device_contracts(&filter).await.unwrap();
        let serials = found.into_iter().filter_map(|contract| contract.serial);
        serials.collect::<Vec<_>>()
    };
    let asked = vec![there[0].clone(), there[1].clone()];
    let free = shown(ContractFilter {
        serials: asked.clone(),
        no_database_only: true,
        ..ContractFilter::default()
    });
    assert_eq!(free.await, there[..1]);
    let all = shown(ContractFilter {
        serials: asked,
        shelf_stock_only: true,
        ..ContractFilter::default()
    });
    assert_eq!(all.await.len(), 2, "none of them has sent yet");
    sim.stop().await;
}

#[tokio::test]
async fn contracts_are_found_under_the_version_that_serves_them() {
    let sim = prompt().await;
    let there = stocked(&sim, 3);
    let (v2, v3) = (
        Operation::GetDeviceContractsByPage,
        Operation::GetDeviceContracts,
    );
    let gone = "That method is no longer available for that API version";
    for (set, refused, served) in [("v2", v2, v3), ("v3", v3, v2)] {
        let setting = format!("GetDeviceContracts = {set:?}");
        let rule = sim
            .faults()
            .push(Rule::throw("InvalidOperationException", gone).on(refused));
        let strict = partner(&sim, |config| config.versions = versions(&setting));
        let error = contracts(&strict).await.unwrap_err();
        assert_eq!(error.kind(), Some(Kind::Version), "{error}");
        let client = partner(&sim, |config| {
            config.version_fallback = true;
            config.versions = versions(&setting);
        });
        let (before, asked) = (calls(&sim, served), calls(&sim, refused));
        for _ in 0..2 {
            assert_eq!(contracts(&client).await.unwrap(), there);
        }
        assert_eq!(calls(&sim, served) - before, 2);
        assert_eq!(calls(&sim, refused) - asked, 1, "the other one is kept to");
        sim.faults().remove(rule);
    }
    sim.stop().await;
}

/// Which orders were listed, each once.
async fn listed(client: &Client) -> BTreeSet<i64> {
    let orders = orders(client).await.unwrap();
    let ids: BTreeSet<_> = orders.iter().map(|order| order.id).collect();
    assert_eq!(ids.len(), orders.len(), "each once");
    ids
}

#[tokio::test]
async fn orders_are_read_whole_however_they_are_paged() {
    let sim = prompt().await;
    let there: BTreeSet<i64> = (0..ORDERS).map(|_| ordered(&sim, 1)).collect();
    for headers in [true, false] {
        sim.market(|market, _| market.settings.paging_headers = headers);
        for name in [SizeName::Camel, SizeName::Snake] {
            for (size, cap) in [(100, 100), (100, 20), (7, 100)] {
                sim.market(|market, _| market.settings.page_cap = cap);
                let client = Client::new(&myadmin::Config {
                    page_size: size,
                    rest_page_size_name: name,
                    ..config(&sim)
                })
                .unwrap();
                let before = calls(&sim, Operation::PartnerOrders);
                assert_eq!(
                    listed(&client).await,
                    there,
                    "{headers} {name:?} {size} {cap}"
                );
                let least = (ORDERS as u64).div_ceil(u64::from(size).min(cap as u64));
                let pages = calls(&sim, Operation::PartnerOrders) - before;
                assert!((least..=least + 1).contains(&pages), "{pages} pages");
            }
        }
    }
    sim.market(|market, _| market.settings.paging_headers = true);
    let keyset = Client::new(&myadmin::Config {
        rest_paging: Style::Keyset,
        page_size: 50,
        ..config(&sim)
    })
    .unwrap();
    assert_eq!(listed(&keyset).await, there);
    sim.stop().await;
}

#[tokio::test]
async fn a_list_that_shifts_while_it_is_read_gives_each_order_once() {
    let sim = prompt().await;
    let there: BTreeSet<i64> = (0..ORDERS).map(|_| ordered(&sim, 1)).collect();
    sim.market(|market, _| market.settings.unstable_order = true);
    let client = Client::new(&myadmin::Config {
        page_size: 50,
        ..config(&sim)
    })
    .unwrap();
    let mut found = BTreeSet::new();
    bounded("all orders, over some sweeps", async {
        while found != there {
            found.extend(listed(&client).await);
        }
    })
    .await;
    sim.stop().await;
}

#[tokio::test]
async fn a_list_is_narrowed_by_window_status_and_reference() {
    let sim = prompt().await;
    let client = client(&sim);
    let (first, second) = (ordered(&sim, 1), ordered(&sim, 1));
    sim.market(|market, now| market.cancel(first as u64, now))
        .unwrap();
    let only = async |filter: OrderFilter| {
        let found = client.orders(week(), &filter).await.unwrap();
        found.iter().map(|order| order.id).collect::<Vec<_>>()
    };
    let by_status = OrderFilter {
        status: Some("PendingFulfillment".to_owned()),
        ..OrderFilter::default()
    };
    assert_eq!(only(by_status).await, [second]);
    let by_reference = OrderFilter {
        shipment_reference: Some(format!("SH{first}")),
        ..OrderFilter::default()
    };
    assert_eq!(only(by_reference).await, [first]);
    let by_number = OrderFilter {
        purchase_order_number: Some(format!("PO{second}")),
        ..OrderFilter::default()
    };
    assert_eq!(only(by_number).await, [second]);
    let past = Window::last(3, jiff::Timestamp::UNIX_EPOCH);
    let found = client.orders(past, &OrderFilter::default()).await.unwrap();
    assert_eq!(found, []);
    sim.stop().await;
}

#[tokio::test]
async fn a_single_order_is_found_with_or_without_an_address_of_its_own() {
    let sim = prompt().await;
    ordered(&sim, 1);
    let client = client(&sim);
    let known = orders(&client).await.unwrap().remove(0);
    let now = jiff::Timestamp::now();
    assert_eq!(client.order(&known, now).await, Ok(Some(known.clone())));
    let counts = || {
        (
            calls(&sim, Operation::PartnerOrder),
            calls(&sim, Operation::PartnerOrders),
        )
    };
    assert_eq!(counts(), (1, 1));
    sim.market(|market, _| market.settings.single_order = false);
    for asked in [(2, 2), (2, 3)] {
        assert_eq!(client.order(&known, now).await, Ok(Some(known.clone())));
        assert_eq!(counts(), asked, "the address is given up once");
    }
    sim.market(|market, now| {
        market.settings.cancelled_vanish = true;
        market.cancel(known.id as u64, now)
    })
    .unwrap();
    assert_eq!(client.order(&known, now).await, Ok(None));
    sim.stop().await;
}

#[tokio::test]
async fn numbers_as_text_and_members_without_a_value_change_nothing() {
    let sim = prompt().await;
    let order = ordered(&sim, 2);
    let client = client(&sim);
    let read = async || -> (Vec<Order>, Vec<LineUnit>) {
        let orders = orders(&client).await.unwrap();
        let units = client.order_units(order).await.unwrap();
        (orders, units)
    };
    let plain = read().await;
    assert_eq!(plain.0[0].erp_no(), market::PARTNER);
    assert!(plain.0[0].order_header_id.is_some() && plain.1.len() == 2);
    for (text, nulls) in [(true, false), (false, true), (true, true)] {
        sim.market(|market, _| {
            market.settings.ids_as_text = text;
            market.settings.null_members = nulls;
        });
        assert_eq!(read().await, plain, "text {text}, nulls {nulls}");
        let serials = stocked(&sim, 1).into_iter().collect::<Vec<_>>();
        let rows = client.databases(&serials).await.unwrap();
        assert!(rows.iter().all(|row| row.owner.is_none()), "{rows:?}");
    }
    sim.stop().await;
}

#[tokio::test]
async fn databases_are_asked_for_in_parts_and_what_is_absent_is_in_none() {
    let sim = prompt().await;
    let serials: Vec<_> = stocked(&sim, 250).into_iter().collect();
    sim.market(|market, now| {
        market.settings.absent_rows = market::AbsentRows::Empty;
        market.assign(&serials[0], "fleet_one", now).unwrap();
        market.share(&serials[1], "workshop", now).unwrap();
    });
    let mut asked: Vec<_> = serials.iter().map(|serial| serial.to_lowercase()).collect();
    asked.push("CX0000000000".to_owned());
    let rows = client(&sim).databases(&asked).await.unwrap();
    assert_eq!(calls(&sim, Operation::GetDeviceDatabaseNames), 3);
    let owned: Vec<_> = rows.iter().filter(|row| row.owner.is_some()).collect();
    assert_eq!(owned.len(), 1, "sharing alone is not enough");
    assert_eq!(
        (owned[0].serial.as_str(), owned[0].owner.as_deref()),
        (serials[0].as_str(), Some("fleet_one"))
    );
    let shared: Vec<_> = rows.iter().filter(|row| !row.shared.is_empty()).collect();
    assert_eq!(shared[0].serial, serials[1]);
    sim.stop().await;
}

#[tokio::test]
async fn no_result_is_nothing_and_no_error() {
    let sim = prompt().await;
    let client = client(&sim);
    assert_eq!(client.lookup_device("CX0000000000").await, Ok(None));
    let serial = stocked(&sim, 1).pop_first().unwrap();
    let found = client.lookup_device(&serial.to_lowercase()).await.unwrap();
    assert_eq!(found.unwrap().serial, Some(serial));
    // A bare `{}`, whatever is asked.
    sim.faults()
        .push(Rule::status(200).on(Operation::MyAdmin).times(3));
    assert_eq!(client.partner_devices().await, Ok(Vec::new()));
    let serials = ["CX0000000000".to_owned()];
    assert_eq!(client.databases(&serials).await, Ok(Vec::new()));
    assert_eq!(client.lookup_device("CX0000000000").await, Ok(None));
    sim.stop().await;
}

#[tokio::test]
async fn both_encodings_say_the_same() {
    let sim = prompt().await;
    let serial = stocked(&sim, 1).pop_first().unwrap();
    for (encoding, media) in [
        (Encoding::Form, "application/x-www-form-urlencoded"),
        (Encoding::Json, "application/json"),
    ] {
        let client = Client::new(&myadmin::Config {
            encoding,
            ..config(&sim)
        })
        .unwrap();
        let listed = client.partner_devices().await.unwrap();
        assert_eq!(listed[0].serial, serial, "{encoding:?}");
        let last = sim.exchanges().pop().unwrap();
        assert_eq!(last.content_type.as_deref(), Some(media));
    }
    sim.stop().await;
}
