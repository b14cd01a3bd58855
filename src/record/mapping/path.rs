//! Paths into a JSON message, compiled so that one walk over the message finds them all.
//!
//! A path is written `a.b[0].c`. A segment in double quotes is one key whatever it contains: `attributes."io.1"`. With
//! `paths = "flat"` a whole path is one key, dots included, unless it holds a quote. `$` stands for the message (so `$.ident`
//! inside an element of `each` reaches out of it) and `@` for the element itself.
//!
//! Invariant P1: a walk touches each member of the objects it enters once, and descends no deeper than the longest path.

use std::fmt::Write as _;

use simd_json::{Node, StaticNode};

/// How unquoted dots in a path are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dots {
    /// A dot enters an object.
    #[default]
    Nested,
    /// A dot is part of the key.
    Flat,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(u32),
}

/// Where a path starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The vendor message.
    Message,
    /// One element of the `each` array.
    Element,
}

/// A parsed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    pub scope: Scope,
    steps: Vec<Step>,
}

impl Path {
    /// Parses `text`; a path that does not begin with `$` starts at `scope`.
    ///
    /// # Errors
    /// What is wrong with the text, in words.
    pub fn parse(text: &str, dots: Dots, scope: Scope) -> Result<Self, String> {
        if text == "@" {
            return Ok(Self {
                scope,
                steps: Vec::new(),
            });
        }
        let (scope, rest) = match text.strip_prefix('$') {
            Some("") => {
                return Ok(Self {
                    scope: Scope::Message,
                    steps: Vec::new(),
                });
            }
            Some(rest) if rest.starts_with('.') => (Scope::Message, &rest[1..]),
            Some(rest) if rest.starts_with('[') => (Scope::Message, rest),
            _ => (scope, text),
        };
        if rest.is_empty() {
            return Err("the path is empty".to_owned());
        }
        if dots == Dots::Flat && !rest.contains('"') {
            return Ok(Self {
                scope,
                steps: vec![Step::Key(rest.to_owned())],
            });
        }
        Ok(Self {
            scope,
            steps: steps(rest)?,
        })
    }
}

/// Splits `a."b.c"[0].d` into steps.
fn steps(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut rest = text;
    loop {
        if let Some(inner) = rest.strip_prefix('[') {
            let Some((digits, after)) = inner.split_once(']') else {
                return Err("`[` without `]`".to_owned());
            };
            let index = digits
                .parse()
                .map_err(|_| format!("`[{digits}]` is not an index (0, 1, 2, ...)"))?;
            steps.push(Step::Index(index));
            rest = after;
        } else if let Some(inner) = rest.strip_prefix('"') {
            let Some((key, after)) = inner.split_once('"') else {
                return Err("a quote is not closed".to_owned());
            };
            steps.push(Step::Key(key.to_owned()));
            rest = after;
        } else {
            let end = rest.find(['.', '[', '"']).unwrap_or(rest.len());
            if end == 0 {
                return Err("a key is empty".to_owned());
            }
            steps.push(Step::Key(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        match rest.as_bytes().first() {
            None => return Ok(steps),
            Some(b'.') => rest = &rest[1..],
            Some(b'[') => {}
            Some(_) => return Err(format!("expected `.` or `[` before `{rest}`")),
        }
        if rest.is_empty() {
            return Err("the path ends with a dot".to_owned());
        }
    }
}

type Children = hashbrown::HashMap<String, u32, foldhash::fast::FixedState>;

#[derive(Debug, Default)]
struct Branch {
    keys: Children,
    indexes: Vec<(u32, u32)>,
    slot: Option<u32>,
}

/// The paths of one scope as a tree; each path owns a slot.
#[derive(Debug)]
pub struct Tree {
    branches: Vec<Branch>,
    slots: u32,
    /// The path of each slot as text, for messages.
    names: Vec<String>,
}

impl Default for Tree {
    fn default() -> Self {
        Self {
            branches: vec![Branch::default()],
            slots: 0,
            names: Vec::new(),
        }
    }
}

/// No such member in this message (or it is null).
const ABSENT: u32 = u32::MAX;

/// What a walk found; reused from message to message.
#[derive(Debug, Default)]
pub struct Slots {
    found: Vec<u32>,
    seen: Vec<bool>,
}

impl Slots {
    /// Forgets what was found.
    pub fn clear(&mut self, tree: &Tree) {
        self.found.clear();
        self.found.resize(tree.slots as usize, ABSENT);
        self.seen.clear();
        self.seen.resize(tree.branches.len(), false);
    }

    /// Where the value of a slot's path lies; `None` when the message has none or it is null.
    pub fn get(&self, slot: u32) -> Option<usize> {
        let at = self.found[slot as usize];
        (at != ABSENT).then_some(at as usize)
    }
}

impl Tree {
    /// Adds a path and returns its slot; the same path twice has one slot.
    pub fn slot(&mut self, path: &Path) -> u32 {
        let mut at = 0usize;
        for step in &path.steps {
            let next = self.branches.len() as u32;
            let branch = &mut self.branches[at];
            let child = match step {
                Step::Key(key) => *branch.keys.entry_ref(key.as_str()).or_insert(next),
                Step::Index(index) => match branch.indexes.iter().find(|(i, _)| i == index) {
                    Some((_, child)) => *child,
                    None => {
                        branch.indexes.push((*index, next));
                        next
                    }
                },
            };
            if child == next {
                self.branches.push(Branch::default());
            }
            at = child as usize;
        }
        let branch = &mut self.branches[at];
        if let Some(slot) = branch.slot {
            return slot;
        }
        branch.slot = Some(self.slots);
        self.slots += 1;
        self.names.push(path.to_string());
        self.slots - 1
    }

    /// The text of a slot's path.
    pub fn name(&self, slot: u32) -> &str {
        &self.names[slot as usize]
    }

    /// Finds every path below `nodes[at]`.
    ///
    /// # Errors
    /// A member that a path goes through occurs twice: its name.
    pub fn walk<'n>(
        &self,
        nodes: &[Node<'n>],
        at: usize,
        slots: &mut Slots,
    ) -> Result<(), &'n str> {
        slots.clear(self);
        self.enter(0, nodes, at, slots)
    }

    fn enter<'n>(
        &self,
        branch: u32,
        nodes: &[Node<'n>],
        at: usize,
        slots: &mut Slots,
    ) -> Result<(), &'n str> {
        let branch = &self.branches[branch as usize];
        if let Some(slot) = branch.slot
            && !matches!(nodes[at], Node::Static(StaticNode::Null))
        {
            slots.found[slot as usize] = at as u32;
        }
        match nodes[at] {
            Node::Object { len, .. } if !branch.keys.is_empty() => {
                let mut key_at = at + 1;
                for _ in 0..len {
                    let Node::String(key) = nodes[key_at] else {
                        break;
                    };
                    if let Some(&child) = branch.keys.get(key) {
                        // P1 makes a second visit of a branch a second member of that name.
                        if std::mem::replace(&mut slots.seen[child as usize], true) {
                            return Err(key);
                        }
                        self.enter(child, nodes, key_at + 1, slots)?;
                    }
                    key_at = after(nodes, key_at + 1);
                }
            }
            Node::Array { len, .. } if !branch.indexes.is_empty() => {
                let mut element_at = at + 1;
                for index in 0..len as u32 {
                    if let Some(&(_, child)) = branch.indexes.iter().find(|(i, _)| *i == index) {
                        self.enter(child, nodes, element_at, slots)?;
                    }
                    element_at = after(nodes, element_at);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The node after the value at `at`, its insides skipped.
pub fn after(nodes: &[Node<'_>], at: usize) -> usize {
    match nodes[at] {
        Node::Object { count, .. } | Node::Array { count, .. } => at + 1 + count,
        Node::String(_) | Node::Static(_) => at + 1,
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.steps.is_empty() {
            return f.write_char(if self.scope == Scope::Message {
                '$'
            } else {
                '@'
            });
        }
        for (n, step) in self.steps.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) => {
                    if n > 0 {
                        f.write_char('.')?;
                    }
                    // A single key stands as it is: a flat message's `position.latitude` reads best without quotes.
                    if self.steps.len() > 1 && key.contains(['.', '[', '"']) {
                        write!(f, "\"{key}\"")?;
                    } else {
                        f.write_str(key)?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_and_told() {
        for (text, dots, told) in [
            ("a", Dots::Nested, "a"),
            ("a.b[0].c", Dots::Nested, "a.b[0].c"),
            ("a.b", Dots::Flat, "a.b"),
            ("a.\"b.c\"", Dots::Nested, "a.\"b.c\""),
            ("\"a.b\"", Dots::Nested, "a.b"),
            ("$.a[3][4]", Dots::Nested, "a[3][4]"),
            ("$[1]", Dots::Nested, "[1]"),
            ("$", Dots::Nested, "$"),
            ("@", Dots::Nested, "@"),
            ("$ref", Dots::Nested, "$ref"),
        ] {
            assert_eq!(
                Path::parse(text, dots, Scope::Element)
                    .map(|path| path.to_string())
                    .as_deref(),
                Ok(told),
                "{text}"
            );
        }
    }

    #[test]
    fn wrong_paths_say_why() {
        for (text, why) in [
            ("", "empty"),
            ("$.", "empty"),
            ("a.", "ends with a dot"),
            (".a", "a key is empty"),
            ("a..b", "a key is empty"),
            ("a[x]", "not an index"),
            ("a[0", "without `]`"),
            ("\"a", "not closed"),
            ("a\"b\"", "expected `.` or `[`"),
            ("a[0]b", "expected `.` or `[`"),
        ] {
            let problem = Path::parse(text, Dots::Nested, Scope::Message).unwrap_err();
            assert!(problem.contains(why), "{text}: {problem}");
        }
    }
}
