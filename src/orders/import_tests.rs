use proptest::prelude::*;

use super::*;
use crate::orders::journey::Serial;

fn read_text(text: &str) -> Wishes {
    read(text.as_bytes(), &Config::default())
}

#[test]
fn columns_are_found_by_name_in_any_order() {
    let text = "\u{feff}IMEI, Unit ,note,serial\n350000000000014,7.1,x,cx00-0000-0001\n\n,,,\n350000000000022,7.2,,\n";
    let wishes = read_text(text);
    assert_eq!(wishes.bad, []);
    assert_eq!(wishes.good.len(), 2);
    assert_eq!(wishes.good[0].line, 2);
    assert_eq!(wishes.good[0].whose, Whose::Unit("7.1".into()));
    assert_eq!(
        wishes.good[0].given.serial.as_ref().map(Serial::as_str),
        Some("CX0000000001")
    );
    assert_eq!(wishes.good[1].line, 5);
    assert_eq!(wishes.good[1].given.serial, None);
    let windows = read_text(&text.replace('\n', "\r\n"));
    assert_eq!(windows, wishes, "lines are counted the same");
}

#[test]
fn every_bad_line_is_told_with_its_field_and_remedy() {
    let text = "unit,order,serial,imei,carrier,tracking\n\
        ,,CX1,,,\n\
        7.1,8,,350000000000014,,\n\
        7.1,,C/X,,,\n\
        7.1,,,3.5E+14,,\n\
        7.1,,,,Post,\n\
        7.1,,,,,T1\n\
        7.1,,,,,\n\
        7.1,,\n\
        ,7,CX0000000001,,,\n\
        ,7,,,Post,T1;T2\n";
    let wishes = read_text(text);
    let told: Vec<(u64, &str)> = wishes
        .bad
        .iter()
        .map(|bad| (bad.line, bad.field.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (2, "unit"),
            (3, "unit"),
            (4, "serial"),
            (5, "imei"),
            (6, "tracking"),
            (7, "carrier"),
            (8, ""),
            (9, ""),
            (10, "unit"),
        ]
    );
    assert!(wishes.bad.iter().all(|bad| !bad.remedy.is_empty()));
    assert_eq!(wishes.good.len(), 1);
    let parcel = wishes.good[0].parcel.as_ref().expect("a parcel");
    assert_eq!(parcel.tracking().len(), 2);
}

#[test]
fn identifiers_of_a_line_are_checked_and_a_line_may_insist_on_them() {
    let text = "unit,sim,imei,force\n\
        7.1,,0,\n\
        7.1,,3500000000001,\n\
        7.1,,35000000000001,\n\
        7.1,,3500000000000140,\n\
        7.1,,350000000000015,\n\
        7.1,8901,,\n\
        7.1,8900000000000000012,,no\n\
        7.1,8900000000000000011,0,yes\n\
        7.1,,350000000000014,perhaps\n";
    let wishes = read_text(text);
    let told: Vec<(u64, &str)> = wishes
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
        ]
    );
    let said = wishes.bad[0].to_string();
    assert!(
        said.starts_with("line 2, imei \"0\": has 1 digit"),
        "{said}"
    );
    assert!(said.contains("write yes in the column \"force\""), "{said}");
    let [wish] = &wishes.good[..] else {
        panic!("{:?}", wishes.good);
    };
    assert_eq!(wish.given.tags.imei.as_deref(), Some("0"));
    assert_eq!(wish.given.forced.len(), 1, "{wish:?}");
}

#[test]
fn a_header_without_a_unit_is_refused() {
    let wishes = read_text("imei,sim\n1,2\n");
    assert!(wishes.good.is_empty());
    assert_eq!(wishes.bad[0].field, "header");
}

#[test]
fn settings_name_each_column_once() {
    assert_eq!(Config::default().check(), Ok(()));
    let twice = Config {
        sim: "IMEI".into(),
        ..Config::default()
    };
    assert!(twice.check().is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&bytes, &Config::default());
        let mut headed = b"unit,imei,carrier,tracking\n".to_vec();
        headed.extend(bytes);
        let _ = read(&headed, &Config::default());
    }
}

#[test]
fn an_unclear_header_loses_no_column() {
    for (header, field, what) in [
        ("unit,imei,imei", "imei", "2 times"),
        ("unit,Unit,imei", "unit", "2 times"),
        ("unit,imie", "imie", "did you mean \"imei\""),
        (
            "unit,imei,carrier,Trackin",
            "Trackin",
            "did you mean \"tracking\"",
        ),
        ("unit,device id", "device id", "did you mean \"device_id\""),
    ] {
        let wishes = read_text(&format!("{header}\n7.1,350000000000014,x,y\n"));
        assert_eq!(wishes.good, [], "{header}");
        let [bad] = &wishes.bad[..] else {
            panic!("{header}: {:?}", wishes.bad);
        };
        assert_eq!((bad.line, &*bad.field, &*bad.value), (1, "header", field));
        assert!(bad.what.contains(what), "{bad}");
    }
    let wishes = read_text("unit,imei,note,city,colour\n7.1,350000000000014,x,y,z\n");
    assert_eq!(wishes.bad, [], "a column of others is passed over");
}

#[test]
fn two_lines_of_one_unit_that_contradict_each_other_are_told() {
    let text = "unit,imei,carrier,tracking\n\
        7.1,350000000000014,,\n\
        7.1,,Post,T1\n\
        7.1,350000000000014,Post,T1\n\
        7.1,350000000000022,,\n\
        7.1,,Post,T2\n\
        7.2,350000000000022,,\n";
    let wishes = read_text(text);
    let told: Vec<(u64, &str)> = wishes
        .bad
        .iter()
        .map(|bad| (bad.line, bad.field.as_str()))
        .collect();
    assert_eq!(told, [(5, "imei"), (6, "tracking")]);
    assert!(wishes.bad[0].what.contains("line 2"), "{}", wishes.bad[0]);
    assert_eq!(wishes.good.len(), 4);
    let many = "7.1,350000000000014,,\n".repeat(LINES_OF_ONE + 1);
    let wishes = read_text(&format!("unit,imei,carrier,tracking\n{many}"));
    assert_eq!(wishes.bad.len(), 1, "{:?}", wishes.bad);
}

#[test]
fn a_file_that_ends_within_quotes_is_told() {
    let wishes = read_text("unit,imei\n7.1,350000000000014\n7.2,\"350000000000022\n");
    let [bad] = &wishes.bad[..] else {
        panic!("{:?}", wishes.bad);
    };
    assert_eq!(bad.line, 3);
    assert!(bad.what.contains("never closed"), "{bad}");
}
