//! The mix of record types: weights, as typed on the command line.

use std::fmt;
use std::str::FromStr;

use crate::record::RecordType;

/// Weights over the twelve record types, in a table drawn from by 32 random bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix {
    /// Upper bound (exclusive) of each type's share of the 32-bit range, scaled to `total`.
    bounds: [u64; 12],
    total: u64,
}

const USUAL: &str =
    "gps=70,generic-status=20,fault=3,acceleration=3,driver-change=1,bluetooth=1,status=1,vin=1";

impl Default for Mix {
    fn default() -> Self {
        USUAL
            .parse()
            .unwrap_or_else(|_| Self::of(&[(RecordType::Gps, 1)]))
    }
}

impl Mix {
    /// Later pairs of one type add up. An all-zero mix is GPS only.
    #[must_use]
    pub fn of(weights: &[(RecordType, u64)]) -> Self {
        let mut bounds = [0; 12];
        let mut total = 0;
        for (slot, kind) in bounds.iter_mut().zip(RecordType::ALL) {
            total += weights
                .iter()
                .filter(|(of, _)| *of == kind)
                .map(|(_, weight)| weight)
                .sum::<u64>();
            *slot = total;
        }
        if total == 0 {
            Self::of(&[(RecordType::Gps, 1)])
        } else {
            Self { bounds, total }
        }
    }

    /// The type that 32 random bits stand for.
    #[inline]
    #[must_use]
    pub fn draw(&self, bits: u32) -> RecordType {
        let place = (u64::from(bits) * self.total) >> 32;
        let at = self
            .bounds
            .iter()
            .position(|bound| place < *bound)
            .unwrap_or(11);
        RecordType::ALL[at]
    }

    #[must_use]
    pub fn weight(&self, kind: RecordType) -> u64 {
        let at = kind as usize;
        self.bounds[at] - at.checked_sub(1).map_or(0, |before| self.bounds[before])
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weighted: Vec<(RecordType, u64)> = RecordType::ALL
            .into_iter()
            .map(|kind| (kind, self.weight(kind)))
            .collect();
        let least = weighted
            .iter()
            .map(|(_, weight)| *weight)
            .filter(|weight| *weight > 0)
            .fold(0, gcd)
            .max(1);
        let parts: Vec<String> = weighted
            .into_iter()
            .filter(|(_, weight)| *weight > 0)
            .map(|(kind, weight)| format!("{}={}", own_name(kind), weight / least))
            .collect();
        f.write_str(&parts.join(","))
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut weights = Vec::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (name, weight) = part
                .split_once('=')
                .ok_or_else(|| format!("`{part}` is not NAME=WEIGHT"))?;
            let weight = weight.trim().parse::<u32>().map_err(|_| {
                format!("the weight of `{name}` must be a whole number, not `{weight}`")
            })?;
            let kinds = kinds_of(name.trim());
            if kinds.is_empty() {
                return Err(format!(
                    "unknown record type `{name}`; known are {}",
                    known()
                ));
            }
            // A group's weight is for the whole group, in twelfths so that it divides evenly.
            let each = u64::from(weight) * 12 / kinds.len() as u64;
            weights.extend(kinds.into_iter().map(|kind| (kind, each)));
        }
        if weights.iter().all(|(_, weight)| *weight == 0) {
            return Err("at least one weight must be above zero".to_owned());
        }
        Ok(Self::of(&weights))
    }
}

/// `gps`, `GpsRecord` and `gps-record` name one type; `fault` and `all` name groups.
fn kinds_of(name: &str) -> Vec<RecordType> {
    let plain = plain(name);
    RecordType::ALL
        .into_iter()
        .filter(|kind| {
            let own = own_name(*kind);
            plain == own || plain == "all" || (plain == "fault" && own.ends_with("fault"))
        })
        .collect()
}

fn plain(name: &str) -> String {
    let lower = name.to_ascii_lowercase().replace(['-', '_'], "");
    lower.strip_suffix("record").unwrap_or(&lower).to_owned()
}

fn own_name(kind: RecordType) -> String {
    plain(kind.name())
}

fn known() -> String {
    let mut names: Vec<String> = RecordType::ALL.into_iter().map(own_name).collect();
    names.extend(["fault".to_owned(), "all".to_owned()]);
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_the_weights() {
        let mix: Mix = "gps=70,generic-status=20,fault=10".parse().unwrap();
        let mut seen = [0_u32; 12];
        for place in 0..100_000_u64 {
            seen[mix.draw((place * 42_949) as u32) as usize] += 1;
        }
        assert!(seen[RecordType::Gps as usize].abs_diff(70_000) < 100);
        assert!(seen[RecordType::GenericStatus as usize].abs_diff(20_000) < 100);
        assert!(seen[RecordType::J1939Fault as usize].abs_diff(2_500) < 100);
        assert_eq!(seen[RecordType::Vin as usize], 0);
    }

    #[test]
    fn every_type_has_a_name_of_its_own() {
        for kind in RecordType::ALL {
            assert_eq!(kinds_of(kind.name()), [kind]);
            assert_eq!(kinds_of(&own_name(kind)), [kind]);
        }
        assert_eq!(kinds_of("generic-status"), [RecordType::GenericStatus]);
        assert_eq!(kinds_of("all").len(), 12);
    }

    #[test]
    fn what_is_wrong_with_a_mix_is_said() {
        assert!("gpz=1".parse::<Mix>().unwrap_err().contains("gpz"));
        assert!("gps".parse::<Mix>().unwrap_err().contains("NAME=WEIGHT"));
        assert!("gps=x".parse::<Mix>().unwrap_err().contains("whole number"));
        assert!("gps=0".parse::<Mix>().unwrap_err().contains("above zero"));
        let usual = Mix::default();
        assert_eq!(
            usual.to_string().parse::<Mix>().unwrap().to_string(),
            usual.to_string()
        );
    }
}
