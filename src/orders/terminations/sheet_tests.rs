//! Tests of reading sheets.

use proptest::prelude::*;
use rust_xlsxwriter::{ExcelDateTime, Format, Workbook};

use super::*;

const GOOD: &str = "Serial Number,Termination Date,Account,Reason\r\n\
    CX0000000001,2026-03-01,PART01,\"sold, at last\"\r\n\
    c1-800-000-0001,2026-03-02T10:00:00Z,PART01,\r\n";

fn at(text: &str) -> Option<Timestamp> {
    Some(text.parse().unwrap())
}

#[test]
fn a_csv_sheet_is_read_by_its_headers() {
    let sheet = read(GOOD.as_bytes(), &Config::default()).unwrap();
    assert_eq!((sheet.rows, sheet.bad.len()), (2, 0));
    assert_eq!(sheet.good[0].serial.as_str(), "CX0000000001");
    assert_eq!(sheet.good[0].since, at("2026-03-01T00:00:00Z"));
    assert_eq!((sheet.good[0].line, sheet.good[1].line), (2, 3));
    assert_eq!(sheet.good[1].serial.as_str(), "C18000000001");
    assert_eq!(sheet.good[1].since, at("2026-03-02T10:00:00Z"));
    let marked = [b"\xef\xbb\xbf", GOOD.as_bytes()].concat();
    assert_eq!(read(&marked, &Config::default()).unwrap(), sheet);
}

#[test]
fn columns_and_dates_are_named_by_the_settings() {
    let config = Config {
        serial: "device".into(),
        date: "ended".into(),
        date_formats: vec!["%d.%m.%Y".into(), "%d/%m/%y %H:%M %z".into()],
        delimiter: ";".into(),
        ..Config::default()
    };
    let text = "Terminations;;\nas of today;;\nNo;ENDED;Device\n1;03.02.2026;CX1\n2;03/02/26 10:00 +0200;CX2\n;;\n";
    let sheet = read(text.as_bytes(), &config).unwrap();
    assert_eq!((sheet.rows, sheet.bad.len()), (2, 0), "{sheet:?}");
    assert_eq!(sheet.good[0].since, at("2026-02-03T00:00:00Z"));
    assert_eq!(sheet.good[1].since, at("2026-02-03T08:00:00Z"));
    let undated = Config {
        date: String::new(),
        ..config
    };
    let sheet = read(text.as_bytes(), &undated).unwrap();
    assert_eq!(sheet.good[0].since, None);
}

#[test]
fn what_is_no_sheet_says_so() {
    for (bytes, says) in [
        (&b""[..], "empty"),
        (b" \r\n ", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b"<!DOCTYPE html><html>Sign in</html>", "web page"),
        (b"\xD0\xCF\x11\xE0rest", "old kind"),
        (b"PK\x03\x04rest", "workbook cannot be read"),
        (b"S\0e\0r\0", "no text"),
        (b"CX0000000001,2026-03-01\n", "no line has the headers"),
        (b"Serial Number,Reason\nCX1,x\n", "no line has the headers"),
    ] {
        let error = read(bytes, &Config::default()).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.blank, says == "empty");
    }
}

#[test]
fn a_row_that_cannot_be_read_is_told_with_its_line() {
    let text = "Serial Number,Termination Date\nCX1,2026-03-01\n,2026-03-01\nCX2,soon\nCX3\n1.2E+05,2026-03-01\n";
    let sheet = read(text.as_bytes(), &Config::default()).unwrap();
    assert_eq!((sheet.rows, sheet.good.len()), (5, 1));
    let lines: Vec<u64> = sheet.bad.iter().map(|bad| bad.line).collect();
    assert_eq!(lines, [3, 4, 5, 6]);
    assert_eq!(sheet.bad[1].field, "Termination Date");
    assert!(sheet.bad[2].what.contains("1 fields"), "{:?}", sheet.bad[2]);
}

fn workbook(rows: &[(&str, ExcelDateTime)]) -> Vec<u8> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    let day = Format::new().set_num_format("yyyy-mm-dd hh:mm");
    sheet.write(0, 0, "Terminated devices").unwrap();
    sheet.write(2, 1, "Serial Number").unwrap();
    sheet.write(2, 2, "Termination Date").unwrap();
    for (at, (serial, date)) in (3..).zip(rows) {
        sheet.write(at, 1, *serial).unwrap();
        sheet.write_with_format(at, 2, date, &day).unwrap();
    }
    book.save_to_buffer().unwrap()
}

#[test]
fn a_workbook_is_read_like_a_text() {
    let date = ExcelDateTime::from_ymd(2026, 3, 1).unwrap();
    let noon = ExcelDateTime::from_ymd(2026, 3, 2)
        .unwrap()
        .and_hms(12, 0, 0)
        .unwrap();
    let bytes = workbook(&[("CX0000000001", date), ("CX-0000-000002", noon)]);
    let sheet = read(&bytes, &Config::default()).unwrap();
    assert_eq!((sheet.rows, sheet.bad.len()), (2, 0), "{sheet:?}");
    assert_eq!(sheet.good[0].line, 4);
    assert_eq!(sheet.good[0].since, at("2026-03-01T00:00:00Z"));
    assert_eq!(sheet.good[1].serial.as_str(), "CX0000000002");
    assert_eq!(sheet.good[1].since, at("2026-03-02T12:00:00Z"));
    let cut = &bytes[..bytes.len() / 2];
    let error = read(cut, &Config::default()).unwrap_err();
    assert!(error.what.contains("workbook"), "{error}");
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&bytes, &Config::default());
        let _ = read(&[b"PK\x03\x04", &bytes[..]].concat(), &Config::default());
    }

    /// A sheet that was cut off anywhere never names a device that the whole one does not name.
    #[test]
    fn a_cut_off_sheet_invents_no_device(count in 1_usize..20, cut in 0.0_f64..1.0) {
        let mut text = String::from("Account,Serial Number,Termination Date\n");
        for number in 0..count {
            text.push_str(&format!("PART01,CX{number:010},2026-03-01\n"));
        }
        let whole = read(text.as_bytes(), &Config::default()).unwrap();
        let at = (text.len() as f64 * cut) as usize;
        if let Ok(sheet) = read(&text.as_bytes()[..at], &Config::default()) {
            for row in sheet.good {
                prop_assert!(whole.good.iter().any(|known| known.serial == row.serial));
            }
        }
    }
}
