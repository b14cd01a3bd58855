//! Texts of others in a command that a person pastes into a shell. Pure.
//!
//! Names of files, serials and numbers come from outside: in double quotes a shell would still run what is in them.

/// A text as one word of a command: as it is where that is safe, else in single quotes.
#[must_use]
pub fn word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+@:/,=%".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_gets_the_text_and_runs_nothing() {
        let hostile = [
            "2026-03-01.csv@4f1c09ab",
            "März 2026.csv",
            "Ku\u{308}ndigungen.csv",
            "$(echo ran)`echo ran`",
            "it's \"quoted\" \\ !",
            "",
            " ; echo ran #",
        ];
        for text in hostile {
            let output = std::process::Command::new("bash")
                .args(["-c", &format!("printf %s {}", word(text))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
        assert_eq!(word(hostile[0]), hostile[0], "plain names stay readable");
    }
}
