//! One record as the rules see it: parsed values by member, wherever they came from.
//!
//! Owns the scan that fills the slots from a parsed message in one pass. A native record's values know their place in the
//! message's text, so that numbers are sent as they were written; a draft's values have no text.

use simd_json::{Node, StaticNode};

use super::members::{self, COUNT, Member};
use super::rules::RuleNo;
use super::validate::UnknownMembers;

/// Where a member's value is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MemberSlot {
    /// Index into the nodes.
    pub node: u32,
    /// The value's mark in the text, see [`Marks`].
    pub at: u32,
}

/// The slots of a record, by member. What is not in the record's set of members is left over from an earlier record.
pub(super) type Slots = [MemberSlot; COUNT];

/// How a value is found in a message's text.
#[derive(Clone, Copy)]
pub(super) enum Marks<'v> {
    /// A mark is an index into the positions of the text's structural characters and first characters of values.
    Structural(&'v [u32]),
    /// A mark is the position itself; nothing is nested.
    Bytes,
}

/// A message's text, in which marks name places.
#[derive(Clone, Copy)]
pub(super) struct Text<'v> {
    pub payload: &'v [u8],
    pub marks: Marks<'v>,
}

impl<'v> Text<'v> {
    /// The byte position of this mark.
    #[inline]
    pub fn position(&self, at: usize) -> usize {
        match self.marks {
            Marks::Bytes => at,
            Marks::Structural(positions) => positions
                .get(at)
                .map_or(self.payload.len(), |&position| position as usize),
        }
    }

    /// The number that begins at this mark, as written.
    pub fn number(&self, at: u32) -> &'v [u8] {
        let rest = self
            .payload
            .get(self.position(at as usize)..)
            .unwrap_or_default();
        let is_part =
            |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
        &rest[..rest
            .iter()
            .position(|byte| !is_part(byte))
            .unwrap_or(rest.len())]
    }

    /// The mark after the object or array that opens at this one.
    pub fn after_nested(&self, at: usize) -> usize {
        let Marks::Structural(positions) = self.marks else {
            return at + 1;
        };
        let mut depth = 0usize;
        for (ahead, &position) in positions.iter().enumerate().skip(at) {
            match self.payload.get(position as usize) {
                Some(b'{' | b'[') => depth += 1,
                Some(b'}' | b']') => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return ahead + 1;
            }
        }
        positions.len()
    }
}

/// A record's values by member.
#[derive(Clone, Copy)]
pub(super) struct View<'v, 'a> {
    pub nodes: &'v [Node<'a>],
    pub slots: &'v Slots,
    /// The members that are there and not null.
    pub seen: u64,
    /// `None` for a draft.
    pub text: Option<Text<'v>>,
}

impl<'v, 'a> View<'v, 'a> {
    #[inline]
    pub fn has(&self, member: Member) -> bool {
        self.seen & member.bit() != 0
    }

    #[inline]
    pub fn node(&self, member: Member) -> Option<Node<'a>> {
        if !self.has(member) {
            return None;
        }
        self.nodes
            .get(self.slots[member as usize].node as usize)
            .copied()
    }

    pub fn number(&self, member: Member) -> Option<f64> {
        match self.node(member)? {
            Node::Static(StaticNode::I64(value)) => Some(value as f64),
            Node::Static(StaticNode::U64(value)) => Some(value as f64),
            Node::Static(StaticNode::F64(value)) => Some(value),
            _ => None,
        }
    }

    /// A value as a person reads it in a reject, shortened.
    pub fn shown(&self, slot: MemberSlot) -> String {
        let Some(node) = self.nodes.get(slot.node as usize) else {
            return String::new();
        };
        match (node, self.text) {
            (Node::String(text), _) => shorten(text),
            (Node::Static(StaticNode::Bool(value)), _) => value.to_string(),
            (Node::Static(StaticNode::Null), _) => "null".to_owned(),
            (Node::Object { .. } | Node::Array { .. }, Some(text)) => {
                let at = slot.at as usize;
                let end = text.position(text.after_nested(at).saturating_sub(1)) + 1;
                let source = text
                    .payload
                    .get(text.position(at)..end.min(text.payload.len()));
                shorten(&String::from_utf8_lossy(source.unwrap_or_default()))
            }
            (Node::Static(_), Some(text)) => {
                shorten(&String::from_utf8_lossy(text.number(slot.at)))
            }
            (Node::Static(StaticNode::I64(value)), None) => value.to_string(),
            (Node::Static(StaticNode::U64(value)), None) => value.to_string(),
            (Node::Static(StaticNode::F64(value)), None) => value.to_string(),
            (Node::Object { .. } | Node::Array { .. }, None) => String::new(),
        }
    }
}

/// The first 120 characters.
pub(super) fn shorten(text: &str) -> String {
    match text.char_indices().nth(120) {
        Some((end, _)) => text[..end].to_owned(),
        None => text.to_owned(),
    }
}

/// What a broken rule is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject {
    Record,
    Member(Member),
    /// A member of this name, which is no member of any type; the index of its key among the nodes, and its value.
    Named(u32, MemberSlot),
    /// The second of a duplicate.
    Repeated(Member, MemberSlot),
}

/// A broken rule that rejects the record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Violation {
    pub rule: RuleNo,
    pub about: Subject,
}

/// What the scan of an object found.
#[derive(Debug)]
pub(super) struct Scan {
    /// The members that are there and not null.
    pub seen: u64,
    /// Whether something must be left out or renamed, so that the record is written anew.
    pub rewrite: bool,
    /// Rules to be counted if the record is not rejected, as bits.
    pub notes: u128,
    pub violation: Option<Violation>,
    /// The node after the object.
    pub next_node: usize,
    /// The structural character after the object.
    pub next_at: usize,
}

/// Fills the slots from the object at `node`, whose brace is the structural character `at`.
#[inline]
pub(super) fn scan(
    nodes: &[Node<'_>],
    text: Text<'_>,
    node: usize,
    at: usize,
    unknown: UnknownMembers,
    slots: &mut Slots,
) -> Scan {
    let mut scan = Scan {
        seen: 0,
        rewrite: false,
        notes: 0,
        violation: None,
        next_node: node + 1,
        next_at: at + 1,
    };
    let Some(&Node::Object { len, .. }) = nodes.get(node) else {
        return scan;
    };
    let mut named = 0u64;
    for _ in 0..len {
        let (key_node, key_at) = (scan.next_node, scan.next_at);
        let [Node::String(name), value, ..] = nodes[key_node..] else {
            break;
        };
        let slot = MemberSlot {
            node: key_node as u32 + 1,
            at: key_at as u32 + 2,
        };
        (scan.next_node, scan.next_at) = match value {
            Node::Object { count, .. } | Node::Array { count, .. } => {
                (key_node + 2 + count, text.after_nested(key_at + 2) + 1)
            }
            Node::String(_) | Node::Static(_) => (key_node + 2, key_at + 4),
        };
        let member = match members::exact(name.as_bytes()) {
            Some(member) => member,
            None => match inexact(name, value, key_node as u32, slot, unknown, &mut scan) {
                Some(member) => member,
                None => continue,
            },
        };
        if named & member.bit() != 0 {
            scan.violation.get_or_insert(Violation {
                rule: RuleNo::MemberDuplicate,
                about: Subject::Repeated(member, slot),
            });
            continue;
        }
        named |= member.bit();
        if value == Node::Static(StaticNode::Null) {
            scan.rewrite = true;
            scan.notes |= 1 << RuleNo::MemberNull as u8;
            continue;
        }
        scan.seen |= member.bit();
        slots[member as usize] = slot;
    }
    if len == 0 {
        scan.next_at += 1;
    }
    scan
}

/// A name that is not exactly a member's: another case of one, or unknown.
#[cold]
fn inexact(
    name: &str,
    value: Node<'_>,
    key: u32,
    slot: MemberSlot,
    unknown: UnknownMembers,
    scan: &mut Scan,
) -> Option<Member> {
    scan.rewrite = true;
    if let Some(member) = members::any_case(name.as_bytes()) {
        scan.notes |= 1 << RuleNo::MemberCase as u8;
        return Some(member);
    }
    match unknown {
        _ if value == Node::Static(StaticNode::Null) => scan.notes |= 1 << RuleNo::MemberNull as u8,
        UnknownMembers::Drop => scan.notes |= 1 << RuleNo::MemberDropped as u8,
        UnknownMembers::Reject => {
            scan.violation.get_or_insert(Violation {
                rule: RuleNo::MemberUnknown,
                about: Subject::Named(key, slot),
            });
        }
    }
    None
}
