//! Takes secrets out of the configuration's text before an excerpt of it is shown.

/// Keys of a hook or secret whose values are no secrets.
const OPEN_KEYS: [&str; 18] = [
    "name",
    "cache",
    "url",
    "timeout",
    "answer_timeout",
    "concurrency",
    "attempts",
    "backoff",
    "backoff_max",
    "directory",
    "handler",
    "memory_max",
    "instances_min",
    "idle_max",
    "init_timeout",
    "user",
    "file",
    "env",
];
/// The key of a text that is one, wherever it stands: the name of its section may be misspelt.
const SECRET_KEY: &str = "value";

/// `text` with secrets and those of hooks replaced by `*`, byte for byte, so that spans still fit.
///
/// Works on lines and not on the parsed document, because the text may be one that does not parse,
/// or one with `headers` misspelt. What is said about hooks and secrets is shown only when its key is known to
/// be harmless, and a URL loses its user name and password. Where it cannot tell, it hides too much.
pub(super) fn mask_secrets(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut is_confidential = false;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim();
        if trimmed.starts_with('[') && trimmed.contains(']') {
            is_confidential = is_of_secrets(trimmed);
            masked.push_str(line);
            continue;
        }
        let (key, value) =
            line.find('=').and_then(|at| line.split_at_checked(at)).unwrap_or(("", line));
        let is_open = OPEN_KEYS.contains(&key.trim());
        let is_shown = !(is_confidential || is_of_secrets(line) || key.trim() == SECRET_KEY);
        if trimmed.starts_with('#') {
            masked.push_str(line);
        } else if is_shown || is_open {
            push_without_credentials(&mut masked, line);
        } else {
            masked.push_str(key);
            push_hidden(&mut masked, value);
            // An inline table, or a text, goes on over the following lines.
            is_confidential |= value.contains('{') || key.trim() == SECRET_KEY;
        }
    }
    masked
}

fn is_of_secrets(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    ["hook", "header", "secret"].iter().any(|word| line.contains(word))
}

/// Hides what stands between `://` and `@`.
fn push_without_credentials(masked: &mut String, line: &str) {
    let credentials = line.find("://").zip(line.rfind('@')).filter(|(from, to)| from + 3 <= *to);
    match credentials {
        None => masked.push_str(line),
        Some((from, to)) => {
            let (before, rest) = line.split_at_checked(from + 3).unwrap_or((line, ""));
            let (hidden, after) = rest.split_at_checked(to - from - 3).unwrap_or((rest, ""));
            masked.push_str(before);
            push_hidden(masked, hidden);
            masked.push_str(after);
        }
    }
}

fn push_hidden(masked: &mut String, value: &str) {
    for character in value.chars() {
        if character.is_whitespace() || character == '=' {
            masked.push(character);
        } else {
            masked.extend(std::iter::repeat_n('*', character.len_utf8()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_values_are_hidden_and_offsets_kept() {
        let text = "\
[hook.page]
url = \"http://ops:s3cret@a/\"
hedders = { Authorization = \"Bearer s3cret\" }
headers = { Authorization = \"Bearer s3cret\" }
timeout = \"1s\"
[broker]
external = \"mqtt://ops:s3cret@b\"
[hook.b.headers]
Authorization = \"Béarer s3cret\"
\"X-Key\" = '''
s3cret'''
[hook.c]
headers = {
  A = \"s3cret\",
}
[hook]
page = { headers = { B = \"s3cret\" } }
[secret.db]
value = \"s3cret\"
[secert.b]
value = '''
s3cret'''
[secret]
x = { value = \"s3cret\" }
[secret.c]
file = \"/run/x\"
[mqtt]
listen = 5";
        let masked = mask_secrets(text);
        assert_eq!(masked.len(), text.len());
        assert!(!masked.contains("s3cret") && !masked.contains("arer"), "{masked}");
        for shown in [
            "url = \"http://**********@a/\"",
            "timeout = \"1s\"",
            "listen = 5",
            "Authorization =",
            "file = \"/run/x\"",
        ] {
            assert!(masked.contains(shown), "{shown} in {masked}");
        }
        for (at, character) in masked.char_indices() {
            assert!(text.is_char_boundary(at) || character == '*');
        }
    }
}
