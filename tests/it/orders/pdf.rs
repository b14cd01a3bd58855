//! PDF files that tests make, and the tests of reading them.

use dig_ingest::orders::mail::pdf::{self, Unread};
use lopdf::content::{Content, Operation};
use lopdf::{Dictionary, Document, Object, ObjectId, Stream, dictionary};

/// A text and where it stands on its page.
pub type Shown<'a> = (f32, f32, &'a str);

/// A purchase order as a program prints it: titles and cells where the columns are.
pub const ORDER: [Shown<'static>; 14] = [
    (50.0, 800.0, "Purchase Order Confirmation"),
    (50.0, 780.0, "Sales No:"),
    (120.0, 780.0, "SO-7"),
    (300.0, 780.0, "PO Number: PO-7"),
    (50.0, 740.0, "Item"),
    (150.0, 740.0, "Description"),
    (350.0, 740.0, "Qty"),
    (400.0, 740.0, "Unit Price"),
    (480.0, 740.0, "Amount"),
    (50.0, 720.0, "CTD-100"),
    (150.0, 720.0, "LTE Cat 1 tracker, 2 antennas"),
    (350.0, 720.0, "3 pcs"),
    (400.0, 720.0, "89.50"),
    (480.0, 720.0, "268.50"),
];

fn content(shown: &[Shown<'_>]) -> Vec<u8> {
    let mut operations = vec![
        Operation::new("BT", vec![]),
        Operation::new("Tf", vec!["F1".into(), 10.into()]),
    ];
    for (x, y, text) in shown {
        let place = [1.0, 0.0, 0.0, 1.0, *x, *y].map(Object::from).to_vec();
        operations.push(Operation::new("Tm", place));
        operations.push(Operation::new("Tj", vec![Object::string_literal(*text)]));
    }
    operations.push(Operation::new("ET", vec![]));
    Content { operations }.encode().unwrap()
}

/// A document of pages, and the ids of its pages.
fn document(pages: &[Stream]) -> (Document, Vec<ObjectId>) {
    let mut document = Document::with_version("1.5");
    let parent = document.new_object_id();
    let font = document.add_object(dictionary! {
        "Type" => "Font", "Subtype" => "Type1", "BaseFont" => "Helvetica", "Encoding" => "WinAnsiEncoding",
    });
    let resources = document.add_object(dictionary! { "Font" => dictionary! { "F1" => font } });
    let ids: Vec<ObjectId> = pages
        .iter()
        .map(|page| {
            let content = document.add_object(page.clone());
            document.add_object(
                dictionary! { "Type" => "Page", "Parent" => parent, "Contents" => content },
            )
        })
        .collect();
    let kids: Vec<Object> = ids.iter().map(|id| (*id).into()).collect();
    let count = i64::try_from(kids.len()).unwrap();
    document.objects.insert(
        parent,
        Object::Dictionary(dictionary! {
            "Type" => "Pages", "Kids" => kids, "Count" => count, "Resources" => resources,
            "MediaBox" => vec![0.into(), 0.into(), 595.into(), 842.into()],
        }),
    );
    let catalog = document.add_object(dictionary! { "Type" => "Catalog", "Pages" => parent });
    document.trailer.set("Root", catalog);
    (document, ids)
}

fn saved(mut document: Document) -> Vec<u8> {
    let mut bytes = Vec::new();
    document.save_to(&mut bytes).unwrap();
    bytes
}

fn plain(content: Vec<u8>) -> Stream {
    Stream::new(Dictionary::new(), content)
}

/// A file with one page.
pub fn file(shown: &[Shown<'_>]) -> Vec<u8> {
    saved(document(&[plain(content(shown))]).0)
}

/// A page that unpacks to `length` bytes.
pub fn bomb(length: usize) -> Vec<u8> {
    let mut page = plain(vec![b' '; length]);
    page.compress().unwrap();
    saved(document(&[page]).0)
}

/// Objects that are built again and again of the same few bytes: each of `members` is an array of `each` numbers.
pub fn swelling(members: usize, each: usize) -> Vec<u8> {
    let index: String = (0..members)
        .map(|at| format!("{} 0 ", 1_000 + at))
        .collect();
    let array = format!("[{}]", "1 ".repeat(each));
    let mut stream = Stream::new(
        dictionary! { "Type" => "ObjStm", "N" => i64::try_from(members).unwrap(), "First" => i64::try_from(index.len()).unwrap() },
        format!("{index}{array}").into_bytes(),
    );
    stream.compress().unwrap();
    let (mut document, _) = document(&[plain(content(&ORDER))]);
    let id = document.add_object(stream);
    let bytes = saved(document);
    // The members are named by a table of references that the writer does not make: the reader finds them by itself.
    let table: String = format!(
        "\nxref\n0 0\ntrailer\n<< /Root 1 0 R /Extra {} {} R >>\n",
        id.0, id.1
    );
    let end = bytes
        .windows(9)
        .rposition(|window| window == b"startxref")
        .unwrap();
    [&bytes[..end], table.as_bytes(), b"startxref\n0\n%%EOF"].concat()
}

/// A file that nobody opens without its password.
pub fn locked() -> Vec<u8> {
    let (mut document, _) = document(&[plain(content(&ORDER))]);
    let id = Object::string_literal("0123456789abcdef");
    document.trailer.set("ID", vec![id.clone(), id]);
    let state = lopdf::EncryptionState::try_from(lopdf::EncryptionVersion::V2 {
        document: &document,
        owner_password: "owner",
        user_password: "user",
        key_length: 128,
        permissions: lopdf::Permissions::all(),
    });
    document.encrypt(&state.unwrap()).unwrap();
    saved(document)
}

/// A file of many pages.
pub fn pages(count: usize) -> Vec<u8> {
    let pages = vec![plain(content(&ORDER[..1])); count];
    saved(document(&pages).0)
}

/// A page that only draws a picture.
pub fn scan() -> Vec<u8> {
    saved(document(&[plain(b"q 595 0 0 842 0 0 cm /Im1 Do Q".to_vec())]).0)
}

#[test]
fn the_rows_and_cells_of_a_table_are_where_they_stand() {
    let text = pdf::text(&file(&ORDER)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..5],
        [
            "Purchase Order Confirmation",
            "Sales No:\tSO-7\tPO Number: PO-7",
            "Item\tDescription\tQty\tUnit Price\tAmount",
            "CTD-100\tLTE Cat 1 tracker, 2 antennas\t3 pcs\t89.50\t268.50",
            "\u{c}",
        ],
        "{text:?}"
    );
    // Written in any order, and each letter by itself.
    let mut letters: Vec<(f32, f32, String)> = Vec::new();
    for (x, y, text) in ORDER.iter().rev() {
        if *text == "CTD-100" {
            let widths = [7.2, 6.1, 7.2, 3.3, 5.6, 5.6, 5.6];
            let mut place = *x;
            for (letter, width) in text.chars().zip(widths) {
                letters.push((place, *y, letter.to_string()));
                place += width;
            }
        } else {
            letters.push((*x, *y, (*text).to_owned()));
        }
    }
    let shown: Vec<Shown<'_>> = letters
        .iter()
        .map(|(x, y, text)| (*x, *y, text.as_str()))
        .collect();
    assert_eq!(pdf::text(&file(&shown)).unwrap(), text);
}

#[test]
fn a_form_within_a_page_is_read_and_one_within_itself_ends() {
    let (mut document, pages) = document(&[plain(b"q 1 0 0 1 50 0 cm /Fm1 Do Q".to_vec())]);
    let form = document.new_object_id();
    let resources = dictionary! { "XObject" => dictionary! { "Fm1" => form } };
    let mut inner = content(&[(10.0, 700.0, "Sales No: SO-7")]);
    inner.extend_from_slice(b"\n/Fm1 Do");
    let font = dictionary! { "Type" => "Font", "Subtype" => "Type1", "BaseFont" => "Helvetica", "Encoding" => "WinAnsiEncoding" };
    let mut own = resources.clone();
    own.set("Font", dictionary! { "F1" => font });
    let stream = Stream::new(
        dictionary! { "Type" => "XObject", "Subtype" => "Form", "Resources" => own },
        inner,
    );
    document.objects.insert(form, stream.into());
    let page = document
        .get_object_mut(pages[0])
        .and_then(Object::as_dict_mut)
        .unwrap();
    page.set("Resources", resources);
    let text = pdf::text(&saved(document)).unwrap();
    assert!(text.contains("Sales No: SO-7"), "{text:?}");
}

#[test]
fn what_cannot_be_read_says_what_to_do() {
    assert_eq!(pdf::text(&locked()), Err(Unread::Encrypted));
    assert_eq!(pdf::text(&scan()), Err(Unread::NoText));
    assert_eq!(pdf::text(&bomb(pdf::UNPACKED + 1)), Err(Unread::TooLarge));
    assert_eq!(pdf::text(&pages(3_000)), Err(Unread::Pages(3_000)));
    let pages = vec![plain(content(&[(1.0, 1.0, &"x".repeat(20_000))])); 60];
    assert_eq!(pdf::text(&saved(document(&pages).0)), Err(Unread::TooLarge));
    let mut cut = file(&ORDER);
    cut.truncate(cut.len() / 3);
    let said = pdf::text(&cut).unwrap_err().to_string();
    assert!(said.contains("compare it by hand"), "{said}");
}

#[test]
fn a_file_that_only_forbids_changes_is_read() {
    let (mut document, _) = document(&[plain(content(&ORDER))]);
    let id = Object::string_literal("0123456789abcdef");
    document.trailer.set("ID", vec![id.clone(), id]);
    let state = lopdf::EncryptionState::try_from(lopdf::EncryptionVersion::V2 {
        document: &document,
        owner_password: "owner",
        user_password: "",
        key_length: 128,
        permissions: lopdf::Permissions::empty(),
    });
    document.encrypt(&state.unwrap()).unwrap();
    let text = pdf::text(&saved(document)).unwrap();
    assert!(text.contains("CTD-100\tLTE"), "{text:?}");
}
