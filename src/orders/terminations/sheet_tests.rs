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

/// A sheet with these rows below its header, by the header's own delimiter.
fn rows(header: &str, rows: &[&str]) -> Sheet {
    let text = format!("{header}\n{}\n", rows.join("\n"));
    read(text.as_bytes(), &Config::default()).unwrap()
}

#[test]
fn the_delimiter_is_found_by_the_headers() {
    for (delimiter, name) in [(",", "comma"), (";", "semicolon"), ("\t", "tab")] {
        let text = GOOD
            .replace("\"sold, at last\"", "sold")
            .replace(',', delimiter);
        let sheet = read(text.as_bytes(), &Config::default()).unwrap();
        assert_eq!((sheet.good.len(), sheet.bad_count), (2, 0), "{name}");
        assert_eq!(sheet.form, format!("text in UTF-8, {name} between columns"));
    }
    // Excel says it in a first line.
    let text = format!(
        "sep=;\n{}",
        "Serial Number;Termination Date\nCX1;2026-03-01\n"
    );
    assert_eq!(
        read(text.as_bytes(), &Config::default())
            .unwrap()
            .good
            .len(),
        1
    );
}

/// The remedy of a fixed delimiter that does not fit is the setting that finds it.
#[test]
fn a_fixed_delimiter_that_does_not_fit_says_which_setting_does() {
    let text = "Serial Number;Termination Date\nCX1;2026-03-01\n";
    let fixed = Config {
        delimiter: ",".into(),
        ..Config::default()
    };
    let error = read(text.as_bytes(), &fixed).unwrap_err();
    assert_eq!(error.remedy, "set orders.terminations.delimiter = \"auto\"");
    assert!(error.what.contains("semicolon"), "{error}");
    let auto = Config {
        delimiter: "auto".into(),
        ..fixed
    };
    assert_eq!(read(text.as_bytes(), &auto).unwrap().good.len(), 1);
}

#[test]
fn every_encoding_of_spreadsheets_is_read() {
    let text = "Account,Serial Number,Termination Date\nM\u{fc}ller,CX1,2026-03-01\n";
    let utf16 = |mark: &[u8], swap: fn(u16) -> [u8; 2]| {
        let units = text.encode_utf16().flat_map(swap);
        mark.iter().copied().chain(units).collect::<Vec<u8>>()
    };
    let latin: Vec<u8> = text.chars().map(|c| c as u8).collect();
    for (bytes, encoding) in [
        (text.as_bytes().to_vec(), "UTF-8"),
        ([b"\xef\xbb\xbf", text.as_bytes()].concat(), "UTF-8"),
        (utf16(b"\xff\xfe", u16::to_le_bytes), "UTF-16LE"),
        (utf16(b"\xfe\xff", u16::to_be_bytes), "UTF-16BE"),
        (latin, "Windows-1252 (a guess"),
    ] {
        let sheet = read(&bytes, &Config::default()).unwrap();
        assert_eq!(sheet.good[0].serial.as_str(), "CX1", "{encoding}");
        assert!(sheet.form.contains(encoding), "{}", sheet.form);
    }
    // Marked as UTF-16 and cut off within a letter: nobody is named. Saved again as it says, it is read.
    let mut cut = utf16(b"\xff\xfe", u16::to_le_bytes);
    cut.pop();
    let error = read(&cut, &Config::default()).unwrap_err();
    assert_eq!(error.remedy, "save it as CSV in UTF-8");
}

#[test]
fn a_footer_is_no_device_and_hides_none() {
    let header = "Account,Serial Number,Termination Date";
    let device = "PART01,CX0000000001,2026-03-01";
    for footer in [
        "Total: 1",
        "Total,1,",
        "Total,,",
        ",,\n\nTotal,1,",
        "Note: all times are UTC",
        "Generated on 2026-03-10 by the portal,,",
        "Total: 1\nPage 1 of 1",
    ] {
        let sheet = rows(header, &[device, footer]);
        assert_eq!((sheet.rows, sheet.good.len()), (1, 1), "{footer}");
        assert_eq!(sheet.bad, [], "{footer}");
    }
    for (footer, lines) in [
        // The total says that a row is missing.
        ("Total: 2", &[3][..]),
        ("Total,17,", &[3]),
        // What may be a device is one, understood or not.
        ("Total Energies,CX0000000002,soon", &[3]),
        ("Total Energies,,2026-03-01", &[3]),
        ("CX0000000002", &[3]),
        ("CX", &[3]),
        ("ACME,,", &[3]),
        // Nothing below a footer is a device.
        ("Total: 1\nPART01,CX0000000002,2026-03-01", &[3]),
        ("Total: 2\nNote: none\nCX", &[3, 4, 5]),
    ] {
        let sheet = rows(header, &[device, footer]);
        let found: Vec<u64> = sheet.bad.iter().map(|bad| bad.line).collect();
        assert_eq!(found, lines, "{footer}: {:?}", sheet.bad);
    }
    let named = rows(header, &[device, "Total Energies,CX0000000002,2026-03-01"]);
    assert_eq!((named.good.len(), named.bad_count), (2, 0));
}

/// The remedy of a row below the devices that is not understood: its word in the settings.
#[test]
fn a_word_of_the_settings_makes_a_row_a_footer() {
    let text = "Serial Number,Termination Date\nCX1,2026-03-01\nDisclaimer of the portal\n";
    let sheet = read(text.as_bytes(), &Config::default()).unwrap();
    assert!(
        sheet.bad[0].remedy.contains("orders.terminations.footer"),
        "{:?}",
        sheet.bad
    );
    let config = Config {
        footer: vec!["disclaimer".into()],
        ..Config::default()
    };
    assert_eq!(read(text.as_bytes(), &config).unwrap().bad, []);
}

#[test]
fn a_sheet_that_is_cut_off_in_its_footer_is_doubted() {
    let header = "Account,Serial Number,Termination Date\nPART01,CX1,2026-03-01\n";
    for (end, bad) in [
        ("Total Energ", 1),
        ("Total: 1", 0),
        ("Total: 17", 1),
        ("Note: none", 0),
        ("Note", 1),
    ] {
        let sheet = read(format!("{header}{end}").as_bytes(), &Config::default()).unwrap();
        assert_eq!(sheet.bad_count, bad, "{end}: {:?}", sheet.bad);
    }
}

#[test]
fn a_day_number_is_a_date_and_its_remedies_help() {
    let header = "Serial Number,Termination Date";
    let sheet = rows(header, &["CX1,46082", "CX2,46082.5", "CX3,2026-03-01"]);
    assert_eq!(sheet.good[0].since, at("2026-03-01T00:00:00Z"));
    assert_eq!(sheet.good[1].since, at("2026-03-01T12:00:00Z"));
    let assumed: Vec<bool> = sheet.good.iter().map(|row| row.assumed).collect();
    assert_eq!(assumed, [true, true, false]);
    // A form that is not known, and the setting that its remedy names.
    let other = rows(header, &["CX1,20260301 at noon"]);
    assert!(other.bad[0].remedy.contains("date_formats"));
    let config = Config {
        date_formats: vec!["%Y%m%d at noon".into()],
        ..Config::default()
    };
    let text = format!("{header}\nCX1,20260301 at noon\n");
    assert_eq!(read(text.as_bytes(), &config).unwrap().good.len(), 1);
}

#[test]
fn a_workbook_s_day_numbers_count_from_where_it_says() {
    let book = |from_1904: bool| {
        let mut book = Workbook::new();
        let sheet = book.add_worksheet();
        sheet.write(0, 0, "Serial Number").unwrap();
        sheet.write(0, 1, "Termination Date").unwrap();
        sheet.write(1, 0, "CX1").unwrap();
        let day = if from_1904 { 46_082 - 1_462 } else { 46_082 };
        sheet.write(1, 1, day).unwrap();
        sheet.write(2, 0, "Total").unwrap();
        sheet.write(2, 1, 1).unwrap();
        let bytes = book.save_to_buffer().unwrap();
        if from_1904 { with_1904(&bytes) } else { bytes }
    };
    for from_1904 in [false, true] {
        let sheet = read(&book(from_1904), &Config::default()).unwrap();
        assert_eq!((sheet.rows, sheet.bad_count), (1, 0), "{sheet:?}");
        assert_eq!(
            sheet.good[0].since,
            at("2026-03-01T00:00:00Z"),
            "{from_1904}"
        );
        assert!(!sheet.good[0].assumed);
        assert_eq!(sheet.form.contains("1904"), from_1904);
    }
}

/// The same workbook, marked as counting days from 1904 on.
fn with_1904(bytes: &[u8]) -> Vec<u8> {
    use std::io::{Cursor, Read as _, Write as _};
    let mut from = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut to = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for at in 0..from.len() {
        let mut file = from.by_index(at).unwrap();
        let name = file.name().unwrap().to_string();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        if name == "xl/workbook.xml" {
            text = text.replace("<workbookPr ", "<workbookPr date1904=\"1\" ");
            assert!(text.contains("date1904"), "{text}");
        }
        let options = zip::write::SimpleFileOptions::default();
        to.start_file(name, options).unwrap();
        to.write_all(text.as_bytes()).unwrap();
    }
    to.finish().unwrap().into_inner()
}

/// Whatever a sheet holds, what is said of it never quotes a row.
#[test]
fn nothing_below_or_above_the_header_is_quoted() {
    let secret = "Hidden Customer";
    for text in [
        format!("{secret},CX1\n"),
        format!("Serial Number,Termination Date\n{secret},2026-03-01,{secret}\nCX1,{secret}\n"),
    ] {
        let said = match read(text.as_bytes(), &Config::default()) {
            Ok(sheet) => format!("{:?}", sheet.bad),
            Err(error) => error.to_string(),
        };
        assert!(!said.contains("Hidden"), "{said}");
    }
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
