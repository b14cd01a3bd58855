//! Values on their way from a vendor's member to a record's: picked, mapped, computed, turned into the wanted form.

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use simd_json::{Node, StaticNode};

use super::Fault;
use super::file::{Form, Literal};
use crate::record::draft;

/// A JSON scalar that is not null.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar<'a> {
    Bool(bool),
    Int(i64),
    /// An integer beyond `i64`.
    Unsigned(u64),
    Float(f64),
    Text(&'a str),
}

impl<'a> Scalar<'a> {
    /// `None` for null, an object and an array.
    pub fn of(node: &Node<'a>) -> Option<Self> {
        match *node {
            Node::String(text) => Some(Self::Text(text)),
            Node::Static(StaticNode::Bool(value)) => Some(Self::Bool(value)),
            Node::Static(StaticNode::I64(value)) => Some(Self::Int(value)),
            Node::Static(StaticNode::U64(value)) => {
                Some(i64::try_from(value).map_or(Self::Unsigned(value), Self::Int))
            }
            #[allow(
                clippy::useless_conversion,
                reason = "the value may be wrapped, by a feature of simd-json"
            )]
            Node::Static(StaticNode::F64(value)) => Some(Self::Float(value.into())),
            _ => None,
        }
    }

    /// The scalar as text, as a `map` key or a `case` is compared with.
    pub fn text(self) -> Cow<'a, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Bool(true) => Cow::Borrowed("true"),
            Self::Bool(false) => Cow::Borrowed("false"),
            Self::Int(number) => Cow::Owned(number.to_string()),
            Self::Unsigned(number) => Cow::Owned(number.to_string()),
            Self::Float(number) => Cow::Owned(number.to_string()),
        }
    }

    /// The number, a numeric text's included: the one rule for values, members and conditions.
    pub fn number(self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(number as f64),
            Self::Unsigned(number) => Some(number as f64),
            Self::Float(number) => Some(number),
            Self::Text(text) => match numeric(text)? {
                Self::Text(_) | Self::Bool(_) => None,
                number => number.number(),
            },
            Self::Bool(_) => None,
        }
    }

    /// A numeric text as its number, exact where it is whole; anything else as it is.
    pub fn numbered(self) -> Self {
        match self {
            Self::Text(text) => numeric(text).unwrap_or(self),
            other => other,
        }
    }
}

/// The number that a text is, white space around it aside: digits with a sign, a fraction or an exponent, as JSON and most printing
/// routines write them. `inf`, `nan`, hexadecimal digits and digits in groups are no numbers.
pub fn numeric(text: &str) -> Option<Scalar<'static>> {
    let text = text.trim();
    let plain =
        |byte: u8| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E');
    if !text.bytes().all(plain) {
        return None;
    }
    if let Ok(whole) = text.parse() {
        return Some(Scalar::Int(whole));
    }
    if let Ok(whole) = text.parse() {
        return Some(Scalar::Unsigned(whole));
    }
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
        .map(Scalar::Float)
}

impl Literal {
    pub fn scalar(&self) -> Scalar<'_> {
        match self {
            Self::Boolean(value) => Scalar::Bool(*value),
            Self::Integer(value) => Scalar::Int(*value),
            Self::Number(value) => Scalar::Float(*value),
            Self::Text(text) => Scalar::Text(text),
        }
    }

    /// Whether a vendor's value equals this one: by value where both are numbers or numeric texts, else as text.
    pub fn equals(&self, other: Scalar<'_>) -> bool {
        let own = self.scalar();
        match (own, other) {
            (Scalar::Text(a), Scalar::Text(b)) => a == b,
            (Scalar::Bool(a), Scalar::Bool(b)) => a == b,
            (Scalar::Bool(flag), Scalar::Text(text)) | (Scalar::Text(text), Scalar::Bool(flag)) => {
                text == if flag { "true" } else { "false" }
            }
            (Scalar::Bool(_), _) | (_, Scalar::Bool(_)) => false,
            _ => match (own.numbered(), other.numbered()) {
                (Scalar::Int(a), Scalar::Int(b)) => a == b,
                (Scalar::Unsigned(a), Scalar::Unsigned(b)) => a == b,
                (Scalar::Int(_), Scalar::Unsigned(_)) | (Scalar::Unsigned(_), Scalar::Int(_)) => {
                    false
                }
                (a, b) => a.number().zip(b.number()).is_some_and(|(a, b)| a == b),
            },
        }
    }
}

/// A value ready for a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
}

impl<'a> Value<'a> {
    pub fn text(self) -> Cow<'a, str> {
        match self {
            Self::Text(text) => text,
            Self::Bool(value) => Scalar::Bool(value).text(),
            Self::Int(value) => Scalar::Int(value).text(),
            Self::Float(value) => Scalar::Float(value).text(),
        }
    }

    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Bool(value) => Value::Bool(value),
            Self::Int(value) => Value::Int(value),
            Self::Float(value) => Value::Float(value),
            Self::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
        }
    }

    pub fn as_draft(&self) -> draft::Value<'_> {
        match self {
            Self::Bool(value) => draft::Value::Bool(*value),
            Self::Int(value) => draft::Value::Int(*value),
            Self::Float(value) => draft::Value::Float(*value),
            Self::Text(text) => draft::Value::Text(text),
        }
    }
}

impl<'a> From<Scalar<'a>> for Value<'a> {
    fn from(scalar: Scalar<'a>) -> Self {
        match scalar {
            Scalar::Bool(value) => Self::Bool(value),
            Scalar::Int(value) => Self::Int(value),
            // No member takes as much; as a number it is refused with its bound.
            Scalar::Unsigned(value) => Self::Float(value as f64),
            Scalar::Float(value) => Self::Float(value),
            Scalar::Text(text) => Self::Text(Cow::Borrowed(text)),
        }
    }
}

/// What happens to a value between a path and a record's member.
#[derive(Debug, Default)]
pub struct Change {
    /// Vendor value as text -> constant.
    pub map: Option<HashMap<String, Literal>>,
    pub otherwise: Option<Literal>,
    /// `factor` and `offset`: `out = in * factor + offset`.
    pub line: Option<(f64, f64)>,
    pub form: Option<Form>,
}

impl Change {
    pub fn is_none(&self) -> bool {
        self.map.is_none() && self.line.is_none() && self.form.is_none()
    }

    /// Applies it; `path` names the value in a fault.
    pub fn apply<'a>(&'a self, scalar: Scalar<'a>, path: &str) -> Result<Value<'a>, Fault> {
        let scalar = match &self.map {
            None => scalar,
            Some(map) => match map.get(scalar.text().as_ref()).or(self.otherwise.as_ref()) {
                Some(literal) => literal.scalar(),
                None => {
                    let mut known: Vec<&str> = map.keys().map(String::as_str).collect();
                    known.sort_unstable();
                    return Err(Fault::new(
                        "map.value.enum",
                        path,
                        scalar,
                        format!("one of {}", known.join(", ")),
                    ));
                }
            },
        };
        let given = scalar;
        let fault = |bound: &str| Fault::new("map.value.kind", path, given, bound.to_owned());
        let scalar = match self.line {
            None => scalar,
            Some((factor, offset)) => {
                let number = scalar.number().ok_or_else(|| fault("a number"))? * factor + offset;
                if !number.is_finite() {
                    return Err(fault("a number that stays finite"));
                }
                Scalar::Float(number)
            }
        };
        Ok(match self.form {
            None => scalar.into(),
            Some(Form::Number) => match scalar.numbered() {
                Scalar::Int(number) => Value::Int(number),
                _ => Value::Float(scalar.number().ok_or_else(|| fault("a number"))?),
            },
            Some(Form::Integer) => match scalar.numbered() {
                Scalar::Int(number) => Value::Int(number),
                // true and false count as 1 and 0, as status values want them.
                Scalar::Bool(value) => Value::Int(i64::from(value)),
                _ => {
                    let number = scalar.number().ok_or_else(|| fault("a number"))?.round();
                    if number.abs() >= 9.2e18 {
                        return Err(fault("a number within 64 bits"));
                    }
                    Value::Int(number as i64)
                }
            },
            Some(Form::Text) => Value::Text(scalar.text()),
            Some(Form::Boolean) => Value::Bool(match scalar {
                Scalar::Bool(value) => value,
                Scalar::Int(0) => false,
                Scalar::Int(1) => true,
                Scalar::Float(0.0) => false,
                Scalar::Float(1.0) => true,
                Scalar::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                    "true" | "1" | "on" | "yes" => true,
                    "false" | "0" | "off" | "no" => false,
                    _ => {
                        return Err(fault(
                            "a boolean, 0 or 1, or true/false, on/off, yes/no as text",
                        ));
                    }
                },
                _ => {
                    return Err(fault(
                        "a boolean, 0 or 1, or true/false, on/off, yes/no as text",
                    ));
                }
            }),
            Some(Form::Base64) => {
                Value::Text(Cow::Owned(STANDARD.encode(scalar.text().as_bytes())))
            }
            Some(Form::HexBase64) => {
                let bytes =
                    hex(&scalar.text()).ok_or_else(|| fault("pairs of hexadecimal digits"))?;
                Value::Text(Cow::Owned(STANDARD.encode(bytes)))
            }
        })
    }

    /// Applies it and wants a number; booleans count as 1 and 0.
    pub fn number(&self, scalar: Scalar<'_>, path: &str) -> Result<f64, Fault> {
        let number = match self.apply(scalar, path)? {
            Value::Bool(value) => Some(f64::from(u8::from(value))),
            Value::Int(value) => Some(value as f64),
            Value::Float(value) => Some(value),
            Value::Text(text) => Scalar::Text(&text).number(),
        };
        number.ok_or_else(|| {
            Fault::new(
                "map.value.kind",
                path,
                scalar,
                "a number or a boolean".to_owned(),
            )
        })
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let text = text.trim().as_bytes();
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |b: u8| (b as char).to_digit(16);
    text.chunks_exact(2)
        .map(|pair| Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply<'a>(change: &'a Change, scalar: Scalar<'a>) -> Result<Value<'a>, &'static str> {
        change.apply(scalar, "p").map_err(|fault| fault.rule)
    }

    #[test]
    fn forms() {
        use Scalar as S;
        let kind = Err("map.value.kind");
        for (form, scalar, wanted) in [
            (Form::Number, S::Text(" 12.5 "), Ok(Value::Float(12.5))),
            (Form::Number, S::Int(7), Ok(Value::Int(7))),
            (Form::Number, S::Text("NaN"), kind.clone()),
            (Form::Number, S::Bool(true), kind.clone()),
            (Form::Integer, S::Float(2.5), Ok(Value::Int(3))),
            (Form::Integer, S::Text("-2.4"), Ok(Value::Int(-2))),
            (Form::Integer, S::Bool(true), Ok(Value::Int(1))),
            (Form::Integer, S::Float(1e30), kind.clone()),
            (Form::Text, S::Int(7), Ok(Value::Text("7".into()))),
            (Form::Text, S::Bool(false), Ok(Value::Text("false".into()))),
            (Form::Boolean, S::Int(1), Ok(Value::Bool(true))),
            (Form::Boolean, S::Text("OFF"), Ok(Value::Bool(false))),
            (Form::Boolean, S::Int(2), kind.clone()),
            (Form::Base64, S::Text("abc"), Ok(Value::Text("YWJj".into()))),
            (
                Form::HexBase64,
                S::Text("616263"),
                Ok(Value::Text("YWJj".into())),
            ),
            (Form::HexBase64, S::Text("61626"), kind.clone()),
            (Form::HexBase64, S::Text("6é"), kind.clone()),
        ] {
            let change = Change {
                form: Some(form),
                ..Change::default()
            };
            assert_eq!(apply(&change, scalar), wanted, "{form:?} {scalar:?}");
        }
    }

    #[test]
    fn factor_then_offset() {
        let change = Change {
            line: Some((1.8, 32.0)),
            ..Change::default()
        };
        assert_eq!(apply(&change, Scalar::Int(100)), Ok(Value::Float(212.0)));
        assert_eq!(apply(&change, Scalar::Text("100")), Ok(Value::Float(212.0)));
        assert_eq!(apply(&change, Scalar::Bool(true)), Err("map.value.kind"));
        assert_eq!(
            apply(&change, Scalar::Float(f64::MAX)),
            Err("map.value.kind")
        );
    }

    #[test]
    fn an_enum_maps_by_text_and_names_what_it_knows() {
        let map = HashMap::from([
            ("1".to_owned(), Literal::Boolean(true)),
            ("off".to_owned(), Literal::Boolean(false)),
        ]);
        let mut change = Change {
            map: Some(map),
            ..Change::default()
        };
        assert_eq!(apply(&change, Scalar::Int(1)), Ok(Value::Bool(true)));
        assert_eq!(apply(&change, Scalar::Text("off")), Ok(Value::Bool(false)));
        let fault = change.apply(Scalar::Text("idle"), "state").unwrap_err();
        assert_eq!(
            (fault.rule, fault.bound.as_str()),
            ("map.value.enum", "one of 1, off")
        );
        change.otherwise = Some(Literal::Boolean(false));
        assert_eq!(apply(&change, Scalar::Text("idle")), Ok(Value::Bool(false)));
    }
}
