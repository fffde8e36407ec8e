//! The timelines that `docs/time.md` draws, played as they are drawn: one column is one minute.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The condition and its clauses; the words behind the drawing; the column of its first minute; lines below it that
/// belong to it.
type Drawing = (&'static str, &'static str, usize, usize);

const DRAWINGS: [Drawing; 20] = [
    ("t > 30 FOR 5 MINUTES", "one message, then silence", 19, 0),
    ("t > 30 FOR 5 MINUTES", "FALSE starts it over", 19, 0),
    ("t > 30 FOR 5 MINUTES", "fires at 5 …", 19, 1),
    ("t > 30 FOR 5 MINUTES", "its FALSE starts nobody else's clock over", 22, 0),
    ("t > 30 FOR 5 MINUTES", "the battery's messages do not disturb", 19, 0),
    ("t > 30 FOR 5 MINUTES MAX GAP 10 MINUTES", "MAX GAP 10 MINUTES: cleared at 10", 19, 0),
    ("t > 30 FOR 15 MINUTES MAX GAP 10 MINUTES", "pending: given up at 13", 19, 0),
    ("t > 30 FOR 5 MINUTES MAX GAP 10 MINUTES HOLD", "silent for 25 minutes", 19, 1),
    ("t > 30 AT LEAST 3 TIMES WITHIN 6 MINUTES", "the third within six minutes", 25, 1),
    ("t > 30 AT LEAST 3 TIMES WITHIN 6 MINUTES", "a fourth comes in time", 25, 1),
    ("t > 30 AT LEAST 3 TIMES WITHIN 6 MINUTES", "the third comes a minute too late", 25, 2),
    ("NO DATA FOR 5 MINUTES", "silent for five minutes after", 27, 1),
    ("t > 30 FOR 5 MINUTES CLEAR FOR 3 MINUTES", "the TRUE in between interrupts", 25, 0),
    ("t > 30 FOR 5 MINUTES KEEP 4 MINUTES", "would clear at the F", 25, 0),
    ("t > 30 FOR 5 MINUTES KEEP 4 MINUTES", "TRUE came back: still the same", 25, 0),
    ("t > 30 FOR 2 MINUTES REPEAT EVERY 3 MINUTES", "at 2, then every three minutes", 25, 1),
    ("t > 30 FOR 5 MINUTES", "two minutes before the crash", 19, 0),
    ("t > 30 FOR 5 MINUTES ON RESTART COUNT", "recorded at the start, dated", 19, 0),
    ("t > 30 FOR 5 MINUTES ON RESTART RESET", "starts over with the next TRUE", 19, 0),
    ("t > 30 FOR 5 MINUTES", "a reload (║) makes it FOR 2 MINUTES", 19, 1),
];

/// What a scenario says of a sign in column `at`, and whether it is expected or done.
fn step(sign: char, at: usize, row: &[char]) -> Option<String> {
    let publish = |payload: &str| format!("{at}m publish m/1 {payload}");
    Some(match sign {
        'T' => publish(r#"{"t":31}"#),
        'F' => publish(r#"{"t":20}"#),
        'u' => publish(r#"{"battery":4}"#),
        '▲' => format!(r#"{at}m firing r ["m/1"] <any>"#),
        '▽' => format!(r#"{at}m cleared r ["m/1"] <any>"#),
        '✗' => {
            let back = row.iter().position(|sign| *sign == '⟳').expect("it starts again");
            format!("{at}m restart {}m", back - at)
        }
        '║' => format!("{at}m reload {}", rule("t > 30 FOR 2 MINUTES")),
        _ => return None,
    })
}

fn rule(when: &str) -> String {
    format!("CREATE RULE r AS SELECT t FROM 'm/+' WHEN {when} DO LOG;")
}

/// The scenario of a drawing.
fn scenario(page: &[Vec<char>], (_, behind, first, below): Drawing) -> String {
    let behind: Vec<char> = behind.chars().collect();
    let found = |line: &Vec<char>| line.windows(behind.len()).position(|words| words == behind);
    let place = page.iter().position(|line| found(line).is_some()).expect("it is on the page");
    let end = found(&page[place]).expect("it was found there");
    let mut steps: Vec<(usize, bool, String)> = Vec::new();
    let mut last = 0;
    for line in &page[place..=place + below] {
        let row: Vec<char> = line.iter().take(end).skip(first).copied().collect();
        for (at, sign) in row.iter().enumerate() {
            let is_expected = matches!(sign, '▲' | '▽');
            steps.extend(step(*sign, at, &row).map(|step| (at, is_expected, step)));
            last = if *sign == ' ' { last } else { last.max(at) };
        }
    }
    steps.sort_by_key(|(at, is_expected, _)| (*at, *is_expected));
    let mut text = format!("== {}\n", behind.iter().collect::<String>());
    steps.iter().for_each(|(_, _, step)| text.push_str(&format!("{step}\n")));
    format!("{text}{last}m1ms tick\n")
}

#[test]
fn what_the_manual_draws_is_what_happens() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/time.md")).expect("the page");
    let page: Vec<Vec<char>> = page.lines().map(|line| line.chars().collect()).collect();
    let folder = tempfile::tempdir().expect("a folder");
    for (number, drawing) in DRAWINGS.into_iter().enumerate() {
        let write = |ending: &str, text: &str| {
            let name = format!("{number:02}.{ending}");
            fs::write(folder.path().join(name), text).expect("written");
        };
        write("rule", &rule(drawing.0));
        write("scenario", &scenario(&page, drawing));
    }
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["test", "."])
        .current_dir(folder.path())
        .output()
        .expect("the binary starts");
    let told = String::from_utf8_lossy(&output.stdout);
    let expected = format!("{0} scenarios: {0} passed, 0 failed\n", DRAWINGS.len());
    assert!(told.ends_with(&expected), "{told}{}", String::from_utf8_lossy(&output.stderr));
}
