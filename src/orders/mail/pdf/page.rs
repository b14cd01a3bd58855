//! The text of one page: what its content shows, put into lines by where it stands.
//!
//! A font's widths tell where a text ends; where a font has none, they are guessed. Pieces on one line that are close to each other
//! are a word, farther from each other words, and far from each other cells.

use std::collections::BTreeMap;

use lopdf::content::{Content, Operation};
use lopdf::{DecompressError, Dictionary, Document, Encoding, Error, Object, ObjectId, Stream};

use super::{TEXT, UNPACKED, Unread};

/// Forms within forms, and saved states, at most.
const DEPTH: usize = 8;
const SAVED: usize = 64;
/// Fonts of one page or form.
const FONTS: usize = 256;
/// Space between pieces, in parts of the size of the letters, from which they are two words, or two cells.
const WORD: f32 = 0.15;
const CELL: f32 = 1.1;

/// The rest of the limits on reading a file.
#[derive(Debug)]
pub struct Left {
    bytes: usize,
    operations: usize,
    text: usize,
}

impl Default for Left {
    fn default() -> Self {
        Self {
            bytes: UNPACKED,
            operations: 2_000_000,
            text: TEXT,
        }
    }
}

/// A matrix of PDF: `[a b c d e f]`.
#[derive(Debug, Clone, Copy)]
struct Matrix([f32; 6]);

impl Matrix {
    const ONE: Self = Self([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);

    fn of(operands: &[Object]) -> Option<Self> {
        let mut matrix = [0.0; 6];
        for (slot, operand) in matrix.iter_mut().zip(operands.get(..6)?) {
            *slot = operand.as_float().ok()?;
        }
        Some(Self(matrix))
    }

    fn moved(x: f32, y: f32) -> Self {
        Self([1.0, 0.0, 0.0, 1.0, x, y])
    }

    /// First `self`, then `then`.
    fn then(self, then: Self) -> Self {
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (self.0, then.0);
        Self([
            a * g + b * i,
            a * h + b * j,
            c * g + d * i,
            c * h + d * j,
            e * g + f * i + k,
            e * h + f * j + l,
        ])
    }

    /// How far it stretches letters to the right, and upwards.
    fn stretch(self) -> (f32, f32) {
        let [a, b, c, d, ..] = self.0;
        (a.hypot(b), c.hypot(d))
    }
}

/// A piece of text and where it stands.
#[derive(Debug)]
struct Piece {
    x: f32,
    y: f32,
    end: f32,
    size: f32,
    text: String,
}

struct Font<'a> {
    encoding: Option<Encoding<'a>>,
    widths: Widths,
}

/// Widths of a font's letters, in thousandths of their size.
#[derive(Debug, Default)]
struct Widths {
    /// Two bytes for each letter.
    double: bool,
    known: BTreeMap<u16, f32>,
    other: Option<f32>,
}

/// The state that shows text.
#[derive(Clone, Copy)]
struct State<'f> {
    place: Matrix,
    font: Option<&'f Font<'f>>,
    size: f32,
    letter_space: f32,
    word_space: f32,
    scale: f32,
    leading: f32,
}

/// Appends the text of a page.
///
/// # Errors
/// It is more than may still be read.
pub fn write(
    document: &Document,
    id: ObjectId,
    left: &mut Left,
    out: &mut String,
) -> Result<(), Unread> {
    let content = document.get_page_content_with_limit(id, left.bytes)?;
    let (own, shared) = document.get_page_resources(id)?;
    let shared = shared
        .first()
        .and_then(|id| document.get_dictionary(*id).ok());
    let mut pieces = Vec::new();
    let mut view = View {
        document,
        left,
        pieces: &mut pieces,
    };
    view.content(&content, own.or(shared), Matrix::ONE, 0)?;
    lines(pieces, out);
    Ok(())
}

struct View<'a> {
    document: &'a Document,
    left: &'a mut Left,
    pieces: &'a mut Vec<Piece>,
}

impl View<'_> {
    fn content(
        &mut self,
        content: &[u8],
        resources: Option<&Dictionary>,
        place: Matrix,
        depth: usize,
    ) -> Result<(), Unread> {
        self.left.bytes = self
            .left
            .bytes
            .checked_sub(content.len())
            .ok_or(Unread::TooLarge)?;
        let document = self.document;
        let within = |name: &[u8]| resources?.get_deref(name, document).ok()?.as_dict().ok();
        let dictionaries = fonts(document, within(b"Font"));
        let fonts: BTreeMap<&[u8], Font<'_>> = dictionaries
            .iter()
            .map(|(name, font)| {
                let encoding = match font.get_font_encoding_with_limit(document, UNPACKED) {
                    Err(Error::Decompress(DecompressError::MemoryLimitExceeded { .. })) => {
                        return Err(Unread::TooLarge);
                    }
                    encoding => encoding.ok(),
                };
                let widths = Widths::of(document, font);
                Ok((name.as_slice(), Font { encoding, widths }))
            })
            .collect::<Result<_, Unread>>()?;
        let forms = within(b"XObject");
        let mut state = State {
            place,
            font: None,
            size: 1.0,
            letter_space: 0.0,
            word_space: 0.0,
            scale: 1.0,
            leading: 0.0,
        };
        let mut saved: Vec<State<'_>> = Vec::new();
        let (mut line, mut at) = (Matrix::ONE, Matrix::ONE);
        for operation in Content::decode_iter(content) {
            // What is broken off in the middle is read as far as it goes.
            let Ok(Operation { operator, operands }) = operation else {
                break;
            };
            self.left.operations = self
                .left
                .operations
                .checked_sub(1)
                .ok_or(Unread::TooLarge)?;
            let number = |at: usize| operands.get(at).and_then(|operand| operand.as_float().ok());
            match operator.as_str() {
                "q" if saved.len() < SAVED => saved.push(state),
                "Q" => state = saved.pop().unwrap_or(state),
                "cm" => {
                    if let Some(matrix) = Matrix::of(&operands) {
                        state.place = matrix.then(state.place);
                    }
                }
                "BT" => (line, at) = (Matrix::ONE, Matrix::ONE),
                "Tf" => {
                    let name = operands.first().and_then(|name| name.as_name().ok());
                    state.font = name.and_then(|name| fonts.get(name));
                    state.size = number(1).unwrap_or(1.0);
                }
                "Tc" => state.letter_space = number(0).unwrap_or(0.0),
                "Tw" => state.word_space = number(0).unwrap_or(0.0),
                "Tz" => state.scale = number(0).unwrap_or(100.0) / 100.0,
                "TL" => state.leading = number(0).unwrap_or(0.0),
                "Td" | "TD" => {
                    let (x, y) = (number(0).unwrap_or(0.0), number(1).unwrap_or(0.0));
                    if operator == "TD" {
                        state.leading = -y;
                    }
                    line = Matrix::moved(x, y).then(line);
                    at = line;
                }
                "Tm" => {
                    if let Some(matrix) = Matrix::of(&operands) {
                        (line, at) = (matrix, matrix);
                    }
                }
                "T*" | "'" | "\"" => {
                    line = Matrix::moved(0.0, -state.leading).then(line);
                    at = line;
                    if let Some(Object::String(text, _)) = operands.last() {
                        self.show(&state, &mut at, text)?;
                    }
                }
                "Tj" => {
                    if let Some(Object::String(text, _)) = operands.first() {
                        self.show(&state, &mut at, text)?;
                    }
                }
                "TJ" => {
                    for part in operands
                        .first()
                        .and_then(|parts| parts.as_array().ok())
                        .into_iter()
                        .flatten()
                    {
                        match part {
                            Object::String(text, _) => self.show(&state, &mut at, text)?,
                            other => {
                                let back = other.as_float().unwrap_or(0.0) / 1000.0
                                    * state.size
                                    * state.scale;
                                at = Matrix::moved(-back, 0.0).then(at);
                            }
                        }
                    }
                }
                "Do" if depth < DEPTH => {
                    let name = operands.first().and_then(|name| name.as_name().ok());
                    let form = name.zip(forms).and_then(|(name, forms)| {
                        forms.get_deref(name, document).ok()?.as_stream().ok()
                    });
                    if let Some(form) = form {
                        self.form(form, resources, state.place, depth + 1)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn form(
        &mut self,
        form: &Stream,
        outer: Option<&Dictionary>,
        place: Matrix,
        depth: usize,
    ) -> Result<(), Unread> {
        if !matches!(
            form.dict.get(b"Subtype").and_then(Object::as_name),
            Ok(b"Form")
        ) {
            return Ok(());
        }
        let matrix = form
            .dict
            .get_deref(b"Matrix", self.document)
            .and_then(Object::as_array);
        let matrix = matrix
            .ok()
            .and_then(|matrix| Matrix::of(matrix))
            .unwrap_or(Matrix::ONE);
        let own = form
            .dict
            .get_deref(b"Resources", self.document)
            .and_then(Object::as_dict)
            .ok();
        let content = form.get_plain_content_with_limit(self.left.bytes)?;
        self.content(&content, own.or(outer), matrix.then(place), depth)
    }

    fn show(&mut self, state: &State<'_>, at: &mut Matrix, bytes: &[u8]) -> Result<(), Unread> {
        let mut text = String::new();
        let encoding = state.font.and_then(|font| font.encoding.as_ref());
        if encoding.is_none_or(|encoding| encoding.write_to_string(bytes, &mut text).is_err()) {
            text = bytes
                .iter()
                .copied()
                .filter(u8::is_ascii)
                .map(char::from)
                .collect();
        }
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        self.left.text = self
            .left
            .text
            .checked_sub(text.len())
            .ok_or(Unread::TooLarge)?;
        let width = width(state, bytes, &text);
        let begin = at.then(state.place);
        *at = Matrix::moved(width, 0.0).then(*at);
        if text.trim().is_empty() {
            return Ok(());
        }
        let (right, up) = begin.stretch();
        let [.., x, y] = begin.0;
        let piece = Piece {
            x,
            y,
            end: x + width * right,
            size: (state.size * up).abs(),
            text,
        };
        if [piece.x, piece.y, piece.end, piece.size]
            .iter()
            .all(|number| number.is_finite())
        {
            self.pieces.push(piece);
        }
        Ok(())
    }
}

/// The fonts of a page by their names. What says which characters a text has is preferred to the names of its glyphs.
fn fonts(document: &Document, fonts: Option<&Dictionary>) -> BTreeMap<Vec<u8>, Dictionary> {
    let mut found = BTreeMap::new();
    for (name, font) in fonts.into_iter().flat_map(Dictionary::iter).take(FONTS) {
        let Ok((_, Object::Dictionary(font))) = document.dereference(font) else {
            continue;
        };
        let mut font = font.clone();
        let composite = matches!(font.get(b"Subtype").and_then(Object::as_name), Ok(b"Type0"));
        if !composite
            && font
                .get_deref(b"ToUnicode", document)
                .and_then(Object::as_stream)
                .is_ok()
        {
            font.remove(b"Encoding");
        }
        found.insert(name.clone(), font);
    }
    found
}

impl Widths {
    fn of(document: &Document, font: &Dictionary) -> Self {
        let number = |object: &Object| {
            document
                .dereference(object)
                .ok()
                .and_then(|(_, object)| object.as_float().ok())
        };
        let code = |object: &Object| number(object).and_then(code);
        let mut widths = Self::default();
        if let Ok(simple) = font
            .get_deref(b"Widths", document)
            .and_then(Object::as_array)
        {
            let first = font.get(b"FirstChar").ok().and_then(code).unwrap_or(0);
            for (at, width) in simple.iter().take(256).enumerate() {
                if let (Ok(at), Some(width)) = (u16::try_from(at), number(width)) {
                    widths.known.insert(first.saturating_add(at), width);
                }
            }
            return widths;
        }
        let below = font
            .get_deref(b"DescendantFonts", document)
            .and_then(Object::as_array)
            .ok();
        let below = below
            .and_then(|fonts| fonts.first())
            .and_then(|font| document.dereference(font).ok()?.1.as_dict().ok());
        let Some(below) = below else {
            let name = font
                .get(b"BaseFont")
                .and_then(Object::as_name)
                .unwrap_or_default();
            if name.windows(7).any(|part| part == b"Courier") {
                widths.other = Some(600.0);
            }
            return widths;
        };
        widths.double = true;
        widths.other = Some(below.get(b"DW").ok().and_then(number).unwrap_or(1000.0));
        let Ok(listed) = below.get_deref(b"W", document).and_then(Object::as_array) else {
            return widths;
        };
        let mut listed = listed.iter();
        // `first [width width ...]`, or `first last width`.
        while let (Some(first), Some(next)) = (listed.next().and_then(code), listed.next()) {
            if let Ok((_, Object::Array(each))) = document.dereference(next) {
                for (at, width) in (first..=u16::MAX).zip(each) {
                    widths.known.extend(number(width).map(|width| (at, width)));
                }
            } else if let (Some(last), Some(width)) = (code(next), listed.next().and_then(number)) {
                widths.known.extend((first..=last).map(|at| (at, width)));
            }
        }
        widths
    }
}

fn code(number: f32) -> Option<u16> {
    (0.0..=65_535.0).contains(&number).then_some(number as u16)
}

/// How far a text moves what follows it, in the units of its line.
fn width(state: &State<'_>, bytes: &[u8], text: &str) -> f32 {
    let widths = state.font.map(|font| &font.widths);
    let known = widths.filter(|widths| !widths.known.is_empty() || widths.other.is_some());
    let (mut width, mut letters) = (0.0, 0.0_f32);
    match known {
        Some(widths) => {
            let step = if widths.double { 2 } else { 1 };
            for code in bytes.chunks(step) {
                let code = code
                    .iter()
                    .fold(0, |code, byte| (code << 8) | u16::from(*byte));
                width += widths
                    .known
                    .get(&code)
                    .copied()
                    .or(widths.other)
                    .unwrap_or(500.0);
                letters += 1.0;
            }
        }
        None => {
            for letter in text.chars() {
                width += guessed(letter);
                letters += 1.0;
            }
        }
    }
    let spaces = if widths.is_some_and(|widths| widths.double) {
        0.0
    } else {
        bytes
            .iter()
            .filter(|byte| **byte == b' ')
            .fold(0.0, |spaces, _| spaces + 1.0)
    };
    let letters = letters * state.letter_space + spaces * state.word_space;
    (width / 1000.0 * state.size + letters) * state.scale
}

/// About what letters without serifs have.
fn guessed(letter: char) -> f32 {
    match letter {
        ' ' | '.' | ',' | ':' | ';' | '/' | '\'' | '|' | 'i' | 'j' | 'l' | 'f' | 't' | 'I' => 278.0,
        '-' | '(' | ')' | 'r' => 333.0,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 860.0,
        letter if letter.is_uppercase() => 690.0,
        _ => 545.0,
    }
}

/// Puts pieces into lines, from the top to the bottom and from the left to the right.
fn lines(mut pieces: Vec<Piece>, out: &mut String) {
    pieces.sort_by(|a, b| b.y.total_cmp(&a.y).then(a.x.total_cmp(&b.x)));
    let mut rest = pieces.into_iter().peekable();
    while let Some(first) = rest.next() {
        let (y, size) = (first.y, first.size);
        let mut line = vec![first];
        while let Some(piece) =
            rest.next_if(|piece| y - piece.y <= 0.35 * size.max(piece.size).max(1.0))
        {
            line.push(piece);
        }
        line.sort_by(|a, b| a.x.total_cmp(&b.x));
        let mut end: Option<f32> = None;
        for piece in line {
            if let Some(end) = end {
                let gap = (piece.x - end) / piece.size.max(1.0);
                if gap > CELL {
                    out.push('\t');
                } else if gap > WORD {
                    out.push(' ');
                }
            }
            out.push_str(&piece.text);
            end = Some(end.map_or(piece.end, |end| end.max(piece.end)));
        }
        out.push('\n');
    }
}
