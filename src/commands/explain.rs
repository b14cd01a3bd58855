//! `dig-ingest explain`: the rules in words.

use std::fmt::Write as _;
use std::process::ExitCode;

use crate::commands::console::out;
use crate::config::ConfigArgs;
use crate::formats;
use crate::record::mapping;
use crate::record::rules::{self, NoSuchRule, RULES, Rule, RuleNo, Severity, Tune};
use crate::record::validate::Rules;

/// Arguments of `dig-ingest explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dig-ingest explain
  dig-ingest explain gps.latitude.range
  dig-ingest explain gps.speed.high --config config/dig-ingest.toml

Severities: reject (dead letter), hold_back (sent and counted, or rejected where [validate] hold_back says so),
warn (sent and counted), normalise (repaired, sent and counted), off.")]
pub struct Args {
    /// Id of a rule, as a dead letter names it; without it all rules are listed.
    #[arg(value_name = "RULE")]
    rule: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Runs the command.
///
/// # Errors
/// There is no such rule, or the settings cannot be read.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let rules = Rules::new(&args.config.load()?.validate);
    match args.rule.as_deref() {
        None => out!("{}", list(&rules)),
        Some(id) => {
            let of = |known: &'static [(&str, &'static str)]| {
                let found = known.iter().find(|(known, _)| *known == id);
                found.map(|(_, what)| *what)
            };
            match (of(&mapping::RULES), of(&formats::RULES)) {
                (Some(what), _) => {
                    out!(
                        "{id}\n  {what}\n\n  stage     map\n  setting   the topic's mapping file\n"
                    )
                }
                (_, Some(what)) => {
                    out!("{id}\n  {what}\n\n  stage     decode\n  setting   input.formats\n")
                }
                _ => out!("{}", one(&rules, find(id)?)),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// As [`RuleNo::find`], with the mappings' rules among the suggestions.
fn find(id: &str) -> Result<RuleNo, NoSuchRule> {
    RuleNo::find(id).map_err(|wrong| {
        let mapped = mapping::RULES.iter().chain(&formats::RULES);
        let mapped = mapped.map(|(id, _)| *id);
        let alike = rules::alike(id, RULES.iter().map(|rule| rule.id).chain(mapped));
        NoSuchRule { alike, ..wrong }
    })
}

fn list(rules: &Rules) -> String {
    let width = RULES
        .iter()
        .map(|rule| rule.id.len())
        .max()
        .unwrap_or_default();
    let mut text = String::new();
    for no in RuleNo::all() {
        let severity = rules.severity(no).name();
        let _ = writeln!(
            text,
            "{:width$}  {severity:9}  {}",
            no.id(),
            rules.expected(no)
        );
    }
    for (id, what) in mapping::RULES.into_iter().chain(formats::RULES) {
        let _ = writeln!(text, "{id:width$}  {:9}  {what}", Severity::Reject.name());
    }
    text
}

fn one(rules: &Rules, no: RuleNo) -> String {
    let rule = no.rule();
    let types: Vec<&str> = rule.types.iter().map(|kind| kind.name()).collect();
    let members: Vec<&str> = rule.members.iter().map(|member| member.name()).collect();
    let or = |words: Vec<&str>, none: &str| {
        if words.is_empty() {
            none.to_owned()
        } else {
            words.join(", ")
        }
    };
    let mut text = format!("{}\n  {}\n\n", rule.id, rule.what);
    for (name, value) in [
        ("expected", rules.expected(no)),
        ("severity", rules.severity(no).name().to_owned()),
        ("types", or(types, "all")),
        ("members", or(members, "the whole")),
        ("stage", rule.stage().name().to_owned()),
        ("setting", setting(rule)),
        ("source", rule.source.to_owned()),
    ] {
        let _ = writeln!(text, "  {name:9} {value}");
    }
    text
}

/// What may be set about a rule, as a person would look for it in the settings file.
fn setting(rule: &Rule) -> String {
    let mut ways = Vec::new();
    match rule.tune {
        Tune::Named(name) if name.starts_with('[') => ways.push(name.to_owned()),
        Tune::Named(name) | Tune::NamedAndSeverity(name) => ways.push(format!("[validate] {name}")),
        Tune::Fixed | Tune::Severity | Tune::Bounds | Tune::BoundsOnly => {}
    }
    if rule.has_free_severity() {
        ways.push(format!("[validate.severity] \"{}\"", rule.id));
    }
    if rule.has_free_bounds() {
        ways.push(format!("[validate.bounds] \"{}\"", rule.id));
    }
    if ways.is_empty() {
        "none: fixed".to_owned()
    } else {
        ways.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_explained() {
        let rules = Rules::default();
        let all = list(&rules);
        for no in RuleNo::all() {
            assert!(all.contains(no.id()));
            let text = one(&rules, no);
            assert!(
                text.contains(no.rule().what) && text.contains(no.rule().source),
                "{text}"
            );
        }
        assert!(find("map.tim").unwrap_err().alike.contains(&"map.time"));
        let speed = one(&rules, RuleNo::SpeedHigh);
        assert!(
            speed.contains(
                "[validate.severity] \"gps.speed.high\", [validate.bounds] \"gps.speed.high\""
            ),
            "{speed}"
        );
    }
}
