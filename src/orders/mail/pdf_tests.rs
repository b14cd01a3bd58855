//! Tests of reading PDF files that are none; files that are some are read in the integration tests.

use proptest::prelude::*;

use super::*;

#[test]
fn what_is_no_pdf_file_says_so() {
    for bytes in [
        &b""[..],
        b"%PDF-1.7",
        b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\ntrailer << /Root 1 0 R >>\n%%EOF",
    ] {
        let said = text(bytes).unwrap_err().to_string();
        assert!(said.contains("compare it by hand"), "{said}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = text(&[&b"%PDF-1.7\n"[..], &bytes].concat());
    }
}
