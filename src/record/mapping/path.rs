//! Paths into a JSON message, compiled so that one walk over the message finds them all.
//!
//! A path is written `a.b[0].c`. A segment in double quotes is one key whatever it contains: `attributes."io.1"`. With
//! `paths = "flat"` a whole path is one key, dots included, unless it holds a quote. `$` stands for the message (so `$.ident`
//! inside an element of `each` reaches out of it), `^` for the element that encloses the one in hand, and `@` for that one itself.
//!
//! Invariant P1: a walk touches each member of the objects it enters once, and descends no deeper than the longest path.

use simd_json::{Node, StaticNode};

use super::file::Literal;
use super::value::Scalar;

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
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Key(String),
    /// An element of an array; negative: counted from its end.
    Index(i32),
    /// The element of an array whose member has this value: `[name=speed]`.
    Select {
        key: Box<Step>,
        wanted: Literal,
    },
    /// The element of an array that has the index of the element in hand: `[@]`.
    Same,
}

/// Where a path starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// The element in hand of `each`, or the message where there is none.
    Here,
    /// The element that this many levels enclose; beyond the outermost: the message.
    Up(usize),
    /// The vendor message.
    Message,
}

/// What a message has beside its payload, and an element beside its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// Milliseconds since 1970.
    Timestamp,
    Key,
    Topic,
    Partition,
    Offset,
    Header(String),
    /// The element's index, from 0.
    Index,
    /// The element's name, where `each` goes over the members of an object.
    Name,
}

/// A parsed path.
#[derive(Debug, Clone, PartialEq)]
pub enum Path {
    In { start: Start, steps: Vec<Step> },
    About(About),
}

const ABOUT: &str = "@kafka.timestamp, @kafka.key, @kafka.topic, @kafka.partition, @kafka.offset, @kafka.headers.NAME, @index or @name";

impl Path {
    /// Parses `text`; a path that begins with neither `$`, `^` nor `@` starts here.
    ///
    /// # Errors
    /// What is wrong with the text, in words.
    pub fn parse(text: &str, dots: Dots) -> Result<Self, String> {
        if let Some(about) = text.strip_prefix('@') {
            return about_of(about);
        }
        let (start, rest) = match text.strip_prefix('$') {
            Some("") => return Err("it names the whole message, which is no value".to_owned()),
            Some(rest) if rest.starts_with('.') => (Start::Message, &rest[1..]),
            Some(rest) if rest.starts_with('[') => (Start::Message, rest),
            _ => {
                let rest = text.trim_start_matches('^');
                let up = text.len() - rest.len();
                match (up, rest.strip_prefix('.')) {
                    (0, _) => (Start::Here, text),
                    (_, Some(rest)) => (Start::Up(up), rest),
                    (_, None) if rest.is_empty() || rest.starts_with('[') => (Start::Up(up), rest),
                    (_, None) => return Err("after `^` comes a dot: ^.key".to_owned()),
                }
            }
        };
        if rest.is_empty() {
            return match start {
                Start::Up(_) => Ok(Self::In {
                    start,
                    steps: Vec::new(),
                }),
                _ => Err("the path is empty".to_owned()),
            };
        }
        let steps = if dots == Dots::Flat && !rest.contains('"') {
            vec![Step::Key(rest.to_owned())]
        } else {
            steps(rest)?
        };
        Ok(Self::In { start, steps })
    }
}

fn about_of(text: &str) -> Result<Path, String> {
    let about = match text {
        "" => {
            return Ok(Path::In {
                start: Start::Here,
                steps: Vec::new(),
            });
        }
        "index" => About::Index,
        "name" => About::Name,
        "kafka.timestamp" => About::Timestamp,
        "kafka.key" => About::Key,
        "kafka.topic" => About::Topic,
        "kafka.partition" => About::Partition,
        "kafka.offset" => About::Offset,
        _ => match text.strip_prefix("kafka.headers.") {
            Some(name) if !name.trim_matches('"').is_empty() => {
                About::Header(name.trim_matches('"').to_owned())
            }
            _ => {
                let rest = text.strip_prefix('.').unwrap_or(text);
                return Err(format!(
                    "`@` is the element itself and nothing follows it: for what lies in the element write `{rest}`; with an `@` there are {ABOUT}"
                ));
            }
        },
    };
    Ok(Path::About(about))
}

/// Splits `a."b.c"[0].d` into steps.
pub fn steps(text: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut rest = text;
    loop {
        if let Some(inner) = rest.strip_prefix('[') {
            let Some((content, after)) = bracket(inner) else {
                return Err("`[` without `]`".to_owned());
            };
            steps.push(in_brackets(content)?);
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

/// What is within brackets, and what follows them; a bracket within quotes is text.
fn bracket(text: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    let end = text.find(|c| {
        quoted ^= c == '"';
        c == ']' && !quoted
    })?;
    Some((&text[..end], &text[end + 1..]))
}

fn in_brackets(content: &str) -> Result<Step, String> {
    if content == "@" {
        return Ok(Step::Same);
    }
    if let Some((key, wanted)) = content.split_once('=') {
        let (key, wanted) = (key.trim_matches('"'), wanted.trim_matches('"'));
        if key.is_empty() {
            return Err(format!("`[{content}]` has no key before `=`"));
        }
        let key = key
            .parse()
            .map_or_else(|_| Step::Key(key.to_owned()), Step::Index);
        return Ok(Step::Select {
            key: Box::new(key),
            wanted: Literal::Text(wanted.to_owned()),
        });
    }
    content.parse().map(Step::Index).map_err(|_| {
        format!("`[{content}]` is not an index (0, 1, 2, ..., or -1 for the last), and no choice such as [name=speed]")
    })
}

type Children = hashbrown::HashMap<String, u32, foldhash::fast::FixedState>;

#[derive(Debug, Default)]
struct Branch {
    keys: Children,
    indexes: Vec<(i32, u32)>,
    /// Elements chosen by a member's value: that member, the value, and the branch of the element.
    choices: Vec<(Step, Literal, u32)>,
    slot: Option<u32>,
}

/// The paths from one start as a tree; each path owns a slot.
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
    /// Adds a path and returns its slot; the same path twice has one slot. `name` is the path as a person writes it.
    pub fn slot(&mut self, steps: &[Step], name: String) -> u32 {
        let mut at = 0usize;
        for step in steps {
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
                Step::Select { key, wanted } => {
                    let known = branch
                        .choices
                        .iter()
                        .find(|(k, w, _)| *k == **key && w == wanted);
                    match known {
                        Some((.., child)) => *child,
                        None => {
                            branch.choices.push(((**key).clone(), wanted.clone(), next));
                            next
                        }
                    }
                }
                // Taken out by the compiler: it depends on the element in hand.
                Step::Same => next,
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
        self.names.push(name);
        self.slots - 1
    }

    /// The text of a slot's path.
    pub fn name(&self, slot: u32) -> &str {
        &self.names[slot as usize]
    }

    /// Finds every path below `nodes[at]`.
    ///
    /// # Errors
    /// A member that a path goes through, or an element that it chooses, occurs twice: its name.
    pub fn walk(&self, nodes: &[Node<'_>], at: usize, slots: &mut Slots) -> Result<(), String> {
        slots.clear(self);
        self.enter(0, nodes, at, slots)
    }

    fn enter(
        &self,
        branch: u32,
        nodes: &[Node<'_>],
        at: usize,
        slots: &mut Slots,
    ) -> Result<(), String> {
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
                            return Err(key.to_owned());
                        }
                        self.enter(child, nodes, key_at + 1, slots)?;
                    }
                    key_at = after(nodes, key_at + 1);
                }
            }
            Node::Array { len, .. } if !branch.indexes.is_empty() || !branch.choices.is_empty() => {
                let mut element_at = at + 1;
                for index in 0..len as i32 {
                    for &(wanted, child) in &branch.indexes {
                        if wanted == index || wanted == index - len as i32 {
                            self.enter(child, nodes, element_at, slots)?;
                        }
                    }
                    for (key, wanted, child) in &branch.choices {
                        let value = follow(nodes, element_at, std::slice::from_ref(key))
                            .and_then(|at| Scalar::of(&nodes[at]));
                        if value.is_some_and(|value| wanted.equals(value)) {
                            if std::mem::replace(&mut slots.seen[*child as usize], true) {
                                return Err(format!("[{key}={}]", wanted.scalar().text()));
                            }
                            self.enter(*child, nodes, element_at, slots)?;
                        }
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

/// Where these steps lead from the value at `at`; of a member that occurs twice the first one counts.
pub fn follow(nodes: &[Node<'_>], at: usize, steps: &[Step]) -> Option<usize> {
    let Some((step, rest)) = steps.split_first() else {
        return Some(at);
    };
    let mut inside = at + 1;
    match (*nodes.get(at)?, step) {
        (Node::Object { len, .. }, Step::Key(wanted)) => {
            for _ in 0..len {
                if matches!(nodes.get(inside)?, Node::String(key) if key == wanted) {
                    return follow(nodes, inside + 1, rest);
                }
                inside = after(nodes, inside + 1);
            }
            None
        }
        (Node::Array { len, .. }, Step::Index(wanted)) => {
            let wanted = if *wanted < 0 {
                len.checked_sub(wanted.unsigned_abs() as usize)?
            } else {
                *wanted as usize
            };
            if wanted >= len {
                return None;
            }
            for _ in 0..wanted {
                inside = after(nodes, inside);
            }
            follow(nodes, inside, rest)
        }
        (Node::Array { len, .. }, Step::Select { key, wanted }) => {
            for _ in 0..len {
                let value = follow(nodes, inside, std::slice::from_ref(key))
                    .and_then(|at| Scalar::of(&nodes[at]));
                if value.is_some_and(|value| wanted.equals(value)) {
                    return follow(nodes, inside, rest);
                }
                inside = after(nodes, inside);
            }
            None
        }
        _ => None,
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(key) => f.write_str(key),
            Self::Index(index) => write!(f, "{index}"),
            Self::Select { key, wanted } => write!(f, "[{key}={}]", wanted.scalar().text()),
            Self::Same => f.write_str("[@]"),
        }
    }
}

/// Steps as a person writes them; `@` for none.
pub fn written(steps: &[Step]) -> String {
    if steps.is_empty() {
        return "@".to_owned();
    }
    let mut out = String::new();
    for (n, step) in steps.iter().enumerate() {
        match step {
            Step::Key(key) => {
                if n > 0 {
                    out.push('.');
                }
                // A single key stands as it is: a flat message's `position.latitude` reads best without quotes.
                if steps.len() > 1 && key.contains(['.', '[', '"']) {
                    out.push_str(&format!("\"{key}\""));
                } else {
                    out.push_str(key);
                }
            }
            Step::Index(index) => out.push_str(&format!("[{index}]")),
            choice => out.push_str(&choice.to_string()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_and_told() {
        for (text, dots, start, told) in [
            ("a", Dots::Nested, Start::Here, "a"),
            ("a.b[0].c", Dots::Nested, Start::Here, "a.b[0].c"),
            ("a.b", Dots::Flat, Start::Here, "a.b"),
            ("a.\"b.c\"", Dots::Nested, Start::Here, "a.\"b.c\""),
            ("\"a.b\"", Dots::Nested, Start::Here, "a.b"),
            ("$.a[3][-1]", Dots::Nested, Start::Message, "a[3][-1]"),
            ("$[1]", Dots::Nested, Start::Message, "[1]"),
            ("^.a", Dots::Nested, Start::Up(1), "a"),
            ("^^[0]", Dots::Nested, Start::Up(2), "[0]"),
            ("@", Dots::Nested, Start::Here, "@"),
            ("$ref", Dots::Nested, Start::Here, "$ref"),
            (
                "a[name=speed].v",
                Dots::Nested,
                Start::Here,
                "a[name=speed].v",
            ),
            ("a[0=\"x]y\"][1]", Dots::Nested, Start::Here, "a[0=x]y][1]"),
            ("$.a[@]", Dots::Nested, Start::Message, "a[@]"),
        ] {
            let Path::In { start: read, steps } = Path::parse(text, dots).unwrap() else {
                panic!("{text}")
            };
            assert_eq!((read, written(&steps).as_str()), (start, told), "{text}");
        }
        let header = Path::parse("@kafka.headers.device-id", Dots::Flat);
        assert_eq!(
            header,
            Ok(Path::About(About::Header("device-id".to_owned())))
        );
    }

    #[test]
    fn wrong_paths_say_why() {
        for (text, why) in [
            ("", "empty"),
            ("$", "whole message"),
            ("$.", "empty"),
            ("a.", "ends with a dot"),
            (".a", "a key is empty"),
            ("a..b", "a key is empty"),
            ("a[x]", "not an index"),
            ("a[0", "without `]`"),
            ("a[=x]", "no key before"),
            ("\"a", "not closed"),
            ("a\"b\"", "expected `.` or `[`"),
            ("a[0]b", "expected `.` or `[`"),
            ("@.v", "write `v`"),
            ("@[0]", "write `[0]`"),
            ("@kafka.time", "@kafka.timestamp"),
            ("^a", "^.key"),
        ] {
            let problem = Path::parse(text, Dots::Nested).unwrap_err();
            assert!(problem.contains(why), "{text}: {problem}");
        }
    }
}
