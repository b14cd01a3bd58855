use proptest::prelude::*;

use super::*;

const BOTH: Needs = Needs {
    serial: true,
    sim: true,
    imei: true,
};
const IMEI: Needs = Needs {
    serial: true,
    sim: false,
    imei: true,
};

fn shelf(text: &str) -> Shelf {
    read(text.as_bytes(), &Config::default())
}

fn picked(shelf: &Shelf, used: &Used, product: &str, tags: &Tags, needs: Needs) -> Option<u64> {
    pick(&shelf.spares, used, "7.1", product, (tags, needs)).map(|spare| spare.line)
}

#[test]
fn devices_are_read_by_their_headers() {
    let shelf = shelf(
        "Product,SIM,IMEI,place\nCTD-100,8900000000000000011,350000000000014,A3\n\n,,350000000000022,\n",
    );
    assert_eq!(shelf.bad, []);
    assert_eq!(shelf.spares.len(), 2);
    assert_eq!(shelf.spares[0].product.as_deref(), Some("CTD-100"));
    assert_eq!(shelf.spares[1].line, 4);
    assert_eq!(shelf.spares[1].given.tags.sim, None);
}

#[test]
fn every_bad_line_is_told_with_its_field_and_remedy() {
    let shelf = shelf(
        "imei,sim,device_id,product\n\
         3.5E+14,8900000000000000011,,\n\
         35000000000000x,,,\n\
         ,,mine,CTD-100\n\
         350000000000014,8900000000000000011\n\
         350000000000014,8900000000000000011,,\n\
         350000000000022,8900000000000000011,,\n",
    );
    let told: Vec<(u64, &str)> = shelf
        .bad
        .iter()
        .map(|bad| (bad.line, bad.field.as_str()))
        .collect();
    assert_eq!(
        told,
        [(2, "imei"), (3, "imei"), (4, "imei"), (5, ""), (7, "sim")]
    );
    assert!(shelf.bad.iter().all(|bad| !bad.remedy.is_empty()));
    assert!(shelf.bad[4].what.contains("line 6"));
    assert_eq!(shelf.spares.len(), 1);
    let none = read(b"serial\nCX1\n", &Config::default());
    assert_eq!((none.bad.len(), none.bad[0].line), (1, 1));
}

#[test]
fn a_unit_gets_what_it_lacks_and_nothing_that_contradicts_it() {
    let shelf = shelf(
        "imei,sim,product\n\
         350000000000014,,\n\
         350000000000022,8900000000000000029,\n\
         350000000000030,8900000000000000037,CTD-100\n\
         350000000000048,,CTD-100\n\
         ,8900000000000000052,CTD-200\n",
    );
    let none = Tags::default();
    let mut used = Used::new();
    assert_eq!(
        picked(&shelf, &used, "ctd-100", &none, IMEI),
        Some(5),
        "its own, without a SIM"
    );
    assert_eq!(picked(&shelf, &used, "CTD-100", &none, BOTH), Some(4));
    assert_eq!(
        picked(&shelf, &used, "CTD-200", &none, BOTH),
        Some(3),
        "one for any product"
    );
    let known = Tags {
        imei: Some("350000000000097".into()),
        ..Tags::default()
    };
    assert_eq!(
        picked(&shelf, &used, "CTD-200", &known, BOTH),
        Some(6),
        "a SIM for its IMEI"
    );
    assert_eq!(
        picked(&shelf, &used, "CTD-100", &known, BOTH),
        None,
        "no other IMEI"
    );
    take(&mut used, &shelf.spares[2], "8.1");
    assert_eq!(picked(&shelf, &used, "CTD-100", &none, BOTH), Some(3));
    take(&mut used, &shelf.spares[1], "8.2");
    assert_eq!(
        picked(&shelf, &used, "CTD-100", &none, BOTH),
        None,
        "the shelf is empty"
    );
    let free = free(&shelf, &used);
    assert_eq!(free.values().sum::<usize>(), 3, "{free:?}");
}

#[test]
fn identifiers_of_a_line_are_checked_and_a_line_may_insist_on_them() {
    let shelf = shelf(
        "imei,sim,force\n\
         0,,\n\
         3500000000001,,no\n\
         35000000000001,,\n\
         3500000000000140,,\n\
         350000000000015,,\n\
         ,8900000000000000012,\n\
         350000000000014,8901,\n\
         0,8900000000000000029,yes\n\
         350000000000022,8900000000000000037,maybe\n\
         3.5E+14,,yes\n",
    );
    let told: Vec<(u64, &str)> = shelf
        .bad
        .iter()
        .map(|bad| (bad.line, bad.field.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (2, "imei"),
            (3, "imei"),
            (4, "imei"),
            (5, "imei"),
            (6, "imei"),
            (7, "sim"),
            (8, "sim"),
            (10, "force"),
            (11, "imei"),
        ]
    );
    for bad in &shelf.bad[..7] {
        assert!(bad.remedy.contains("yes in the column \"force\""), "{bad}");
    }
    assert!(!shelf.bad[8].remedy.contains("force"), "{}", shelf.bad[8]);
    let [spare] = &shelf.spares[..] else {
        panic!("{:?}", shelf.spares);
    };
    assert_eq!(spare.given.tags.imei.as_deref(), Some("0"));
    assert_eq!(spare.given.forced.len(), 1, "{spare:?}");
}

#[tokio::test]
async fn a_file_that_is_being_written_or_is_gone_gives_out_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        file: folder.path().join("shelf.csv"),
        auto: true,
        ..Config::default()
    };
    config.check().unwrap();
    let mut inventory = Inventory::default();
    let now = Timestamp::now();
    let later = now + SignedDuration::from_secs(60);
    assert_eq!(inventory.look(&config, now).await.bad[0].field, "file");
    std::fs::write(&config.file, "imei\n350000000000014\n").unwrap();
    assert_eq!(inventory.look(&config, now).await.spares.len(), 0);
    assert_eq!(inventory.look(&config, later).await.spares.len(), 1);
    assert_eq!(inventory.look(&config, later).await.bad, []);
    std::fs::remove_file(&config.file).unwrap();
    let gone = inventory.look(&config, later).await;
    assert_eq!((gone.spares.len(), gone.bad.len()), (0, 1));
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    let nowhere = Config {
        auto: true,
        ..Config::default()
    };
    assert!(nowhere.check().unwrap_err().starts_with("inventory.auto"));
    let twice = Config {
        sim: "IMEI ".into(),
        ..Config::default()
    };
    assert!(twice.check().unwrap_err().starts_with("inventory.sim"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let shelf = read(&bytes, &Config::default());
        prop_assert!(shelf.spares.iter().all(|spare| spare.given.tags.imei.is_some() || spare.given.tags.sim.is_some()));
    }
}
