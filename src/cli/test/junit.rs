//! Results in the form of JUnit's Ant task, which CI systems read: a suite a file, a case a scenario.

use std::io;

use quick_xml::Writer;
use quick_xml::events::BytesText;

use super::Verdict;

/// The whole document.
pub(super) fn report(verdicts: &[Verdict]) -> Vec<u8> {
    let mut xml = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_vec();
    write(verdicts, &mut xml).expect("a vector takes every byte");
    xml.push(b'\n');
    xml
}

fn write(verdicts: &[Verdict], out: &mut Vec<u8>) -> io::Result<()> {
    let mut writer = Writer::new_with_indent(out, b' ', 2);
    let suites = verdicts.chunk_by(|a, b| a.file == b.file);
    writer.create_element("testsuites").write_inner_content(|writer| {
        for suite in suites {
            let file = suite.first().map_or("", |verdict| verdict.file.as_str());
            let failures = suite.iter().filter(|verdict| verdict.failure.is_some()).count();
            writer
                .create_element("testsuite")
                .with_attribute(("name", file))
                .with_attribute(("tests", suite.len().to_string().as_str()))
                .with_attribute(("failures", failures.to_string().as_str()))
                .write_inner_content(|writer| {
                    suite.iter().try_for_each(|verdict| case(writer, verdict))
                })?;
        }
        Ok(())
    })?;
    Ok(())
}

fn case(writer: &mut Writer<&mut Vec<u8>>, verdict: &Verdict) -> io::Result<()> {
    let case = writer
        .create_element("testcase")
        .with_attribute(("classname", verdict.file.as_str()))
        .with_attribute(("name", verdict.title.as_str()));
    match &verdict.failure {
        None => case.write_empty()?,
        Some(failure) => case.write_inner_content(|writer| {
            writer
                .create_element("failure")
                .with_attribute(("message", "what happened is not what was expected"))
                .write_text_content(BytesText::new(failure))?;
            Ok(())
        })?,
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_a_file_and_what_differs_is_escaped() {
        let verdict = |file: &str, title: &str, failure: Option<&str>| Verdict {
            file: file.to_owned(),
            title: title.to_owned(),
            failure: failure.map(str::to_owned),
        };
        let verdicts = [
            verdict("a.rule", "it \"fires\"", None),
            verdict("a.rule", "it clears", Some("- 1s match a {\"x\":\"<&\"}")),
            verdict("b.rule", "it matches", None),
        ];
        insta::assert_snapshot!(String::from_utf8(report(&verdicts)).unwrap());
    }
}
