use proptest::prelude::*;

use super::*;

#[test]
fn imeis_are_read_as_labels_write_them() {
    for (given, normal) in [
        ("356938035643809", "356938035643809"),
        ("490154203237518", "490154203237518"),
        ("35-693803-564380-9", "356938035643809"),
        ("35 693803 564380 9", "356938035643809"),
        ("869983634212077", "869983634212077"),
    ] {
        let imei = Imei::parse(given).map(|imei| imei.as_str().to_owned());
        assert_eq!(imei.as_deref(), Ok(normal), "{given}");
    }
}

#[test]
fn what_is_no_imei_is_told_with_why_and_remedy() {
    for (given, says) in [
        ("", "has 0 digits"),
        ("0", "has 1 digit, an IMEI has 15"),
        ("3569380356438", "has 13 digits"),
        (
            "35693803564380",
            "14 digits, an IMEI has 15: its check digit",
        ),
        ("3569380356438099", "IMEISV"),
        ("356938035643808", "check digit does not fit"),
        ("365938035643809", "check digit does not fit"),
        ("000000000000000", "all zeros"),
        ("35693803564380x", "'x'"),
        ("35693803564380\u{ff19}", "no digit"),
        ("A10000009296F2", "'A'"),
    ] {
        let unfit = Imei::parse(given).expect_err(given);
        assert!(unfit.what.contains(says), "{given}: {unfit}");
        assert!(unfit.remedy.contains("label"), "{given}: {unfit}");
        let remedy = unfit.remedy("give --force");
        assert!(
            remedy.ends_with("or give --force to take it as it is"),
            "{remedy}"
        );
    }
}

#[test]
fn iccids_are_read_as_cards_and_modems_write_them() {
    for (given, normal) in [
        ("8944500102198304826", "8944500102198304826"),
        ("8944500102198304826F", "8944500102198304826"),
        ("8944500102198304826f", "8944500102198304826"),
        ("8944 5001 0219 8304 826", "8944500102198304826"),
        ("89148000000745809013", "89148000000745809013"),
    ] {
        let iccid = Iccid::parse(given).map(|iccid| iccid.as_str().to_owned());
        assert_eq!(iccid.as_deref(), Ok(normal), "{given}");
    }
}

#[test]
fn what_is_no_iccid_is_told_with_why_and_remedy() {
    for (given, says) in [
        ("0", "has 1 digit,"),
        ("894450010219830482", "has 18 digits,"),
        ("894450010219830482FF", "'F'"),
        ("894450010219830482F", "18 digits before its F"),
        ("89148000000745809013F", "20 digits before its F"),
        ("894450010219830482600", "has 21 digits"),
        ("8844500102198304827", "begin with 89"),
        ("8944500102198304825", "check digit does not fit"),
        ("89445001021983048a6", "'a'"),
        ("+491701234567", "'+'"),
    ] {
        let unfit = Iccid::parse(given).expect_err(given);
        assert!(unfit.what.contains(says), "{given}: {unfit}");
        assert!(unfit.forcible && unfit.remedy.contains("SIM"), "{unfit}");
    }
}

#[test]
fn a_lost_number_or_a_control_character_cannot_be_forced() {
    for (given, says) in [
        ("3.5E+14", "another spelling"),
        ("-35", "another spelling"),
        ("", "is empty"),
        ("12\u{0}", "invisible character U+0000"),
        ("truck\u{202e}7", "invisible character U+202E"),
        ("truck\u{200b}7", "invisible character U+200B"),
        (&*"1".repeat(65), "has 65 bytes"),
    ] {
        let unfit = storable(given).expect_err(given);
        assert!(unfit.what.contains(says), "{given:?}: {unfit}");
        assert_eq!(unfit.remedy("give --force"), unfit.remedy);
    }
    assert_eq!(storable("truck-7"), Ok(()));
    assert_eq!(storable("0"), Ok(()));
}

#[test]
fn a_serial_is_of_the_product_whose_prefix_it_has() {
    let prefixes: Prefixes = [
        ("CTD-100", "CX"),
        ("CTD-200", "c8"),
        ("CTD-201", "C8"),
        ("BOX", ""),
    ]
    .into_iter()
    .collect();
    for (product, serial, says) in [
        ("CTD-100", "CX0000000001", None),
        ("CTD-200", "C80000000001", None),
        ("CTD-201", "c8-0000-000001", None),
        (
            "CTD-100",
            "C80000000001",
            Some("prefix of product \"CTD-20"),
        ),
        ("CTD-100", "G90000000001", Some("does not begin with CX")),
        ("BOX", "CX0000000001", Some("its unit is a \"BOX\"")),
        ("BOX", "G90000000001", None),
        ("unknown", "G90000000001", None),
    ] {
        let checked = prefixes.check(product, &Serial::parse(serial).expect("a serial"));
        match says {
            None => assert_eq!(checked, Ok(()), "{product} {serial}"),
            Some(says) => {
                let unfit = checked.expect_err(serial);
                assert!(unfit.what.contains(says), "{product} {serial}: {unfit}");
            }
        }
    }
    let serial = Serial::parse("C80000000001").expect("a serial");
    assert_eq!(Prefixes::default().check("CTD-100", &serial), Ok(()));
}

#[test]
fn marks_of_a_store_are_told_to_be_odd_and_kept() {
    let tags = Tags {
        imei: Some("0".into()),
        sim: Some("8944500102198304826".into()),
        device_id: Some("0".into()),
    };
    let told = odd(&tags);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].0, &*told[0].1), ("IMEI", "0"));
    assert_eq!(odd(&Tags::default()), []);
}

/// Digits of this length that end with their check digit.
fn complete(begin: &str, length: usize) -> impl Strategy<Value = String> {
    let begin = begin.to_owned();
    proptest::collection::vec(0_u32..10, length - 1 - begin.len()).prop_map(move |digits| {
        let rest = digits
            .into_iter()
            .filter_map(|digit| char::from_digit(digit, 10));
        let mut text: String = begin.chars().chain(rest).collect();
        text.extend(check_digit(&text));
        text
    })
}

fn changed(text: &str, at: usize, by: u32) -> String {
    let other = |digit: char| {
        let digit = digit.to_digit(10).expect("a digit");
        char::from_digit((digit + by) % 10, 10).expect("a digit")
    };
    let at = at % text.len();
    let digits = text.chars().enumerate();
    digits
        .map(|(place, digit)| if place == at { other(digit) } else { digit })
        .collect()
}

/// The text with two neighbours swapped; none if they are alike, or 0 and 9, which the check digit cannot tell apart.
fn swapped(text: &str, at: usize) -> Option<String> {
    let at = at % (text.len() - 1);
    let mut bytes = text.as_bytes().to_vec();
    let pair = [bytes[at], bytes[at + 1]];
    bytes.swap(at, at + 1);
    let told = pair[0] != pair[1] && !matches!(&pair, b"09" | b"90");
    told.then(|| String::from_utf8(bytes).expect("digits"))
}

proptest! {
    #[test]
    fn one_wrong_digit_and_one_swap_are_found(
        imei in complete("", 15),
        iccid in prop_oneof![complete("89", 19), complete("89", 20)],
        at in 0_usize..100,
        by in 1_u32..10,
    ) {
        prop_assume!(imei.bytes().any(|digit| digit != b'0'));
        prop_assert_eq!(Imei::parse(&imei).map(|imei| imei.0), Ok(imei.as_str().into()));
        prop_assert_eq!(Iccid::parse(&iccid).map(|iccid| iccid.0), Ok(iccid.as_str().into()));
        prop_assert!(Imei::parse(&changed(&imei, at, by)).is_err());
        prop_assert!(Iccid::parse(&changed(&iccid, at, by)).is_err());
        if let Some(swapped) = swapped(&imei, at) {
            prop_assert!(Imei::parse(&swapped).is_err(), "{} {}", imei, swapped);
        }
        if let Some(swapped) = swapped(&iccid, at) {
            prop_assert!(Iccid::parse(&swapped).is_err(), "{} {}", iccid, swapped);
        }
    }

    #[test]
    fn any_text_is_judged_without_panic(text in "\\PC{0,30}|[0-9F -]{0,30}") {
        let _ = (storable(&text), check_digit(&text));
        if let Ok(imei) = Imei::parse(&text) {
            prop_assert_eq!(Imei::parse(imei.as_str()), Ok(imei));
        }
        if let Ok(iccid) = Iccid::parse(&text) {
            prop_assert_eq!(Iccid::parse(iccid.as_str()), Ok(iccid));
        }
    }
}
