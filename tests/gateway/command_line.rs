//! The built binary as a script meets it: exit codes, what goes to which stream, pipes, Ctrl-C.

use std::fs;
use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

fn tidegate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).env_remove("TIDEGATE_LOG").stdin(Stdio::null());
    command
}

fn output(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = tidegate(arguments).output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    (status.code(), text(stdout), text(stderr))
}

/// A recording that needs no broker: nothing in it can be published.
fn unusable_recording(folder: &Path) -> String {
    let file = folder.join("recorded.ndjson");
    fs::write(&file, "oops\n").expect("a file");
    file.to_str().expect("a UTF-8 path").to_owned()
}

#[test]
fn help_and_version_are_answers_and_a_wrong_line_is_not() {
    let (code, stdout, stderr) = output(&["--version"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(stdout, concat!("tidegate ", env!("CARGO_PKG_VERSION"), "\n"));
    for wrong in [&[][..], &["rnu"], &["replay"], &["--log", "loud=x=y", "replay", "f"]] {
        let (code, stdout, stderr) = output(wrong);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{wrong:?}");
        assert!(!stderr.is_empty() && !stderr.contains('\x1b'), "{stderr}");
    }
}

#[test]
fn a_failed_operation_is_told_from_a_rejected_text() {
    let (code, stdout, stderr) = output(&["replay", "/no/such/file"]);
    assert_eq!((code, stdout.as_str()), (Some(3), ""));
    assert!(stderr.starts_with("tidegate: cannot open the recording /no/such/file: "), "{stderr}");

    let folder = tempfile::tempdir().expect("a folder");
    let (code, stdout, stderr) = output(&["replay", &unusable_recording(folder.path())]);
    assert_eq!(code, Some(1));
    assert_eq!(stderr, "line 1: not a JSON object\n");
    assert!(stdout.starts_with("sent 0, acknowledged 0"), "{stdout}");
}

#[test]
fn a_reader_that_has_gone_ends_it_quietly_and_a_full_disk_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let recording = unusable_recording(folder.path());
    let mut child = tidegate(&["replay", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // Closed before there is anything to say: the summary comes after the input's end.
    drop(child.stdout.take());
    child.stdin.take().expect("a pipe").write_all(b"oops\n").expect("it reads");
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(ended.stderr, b"line 1: not a JSON object\n");

    let full = File::options().write(true).open("/dev/full").expect("/dev/full");
    let ended = tidegate(&["replay", &recording])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .expect("it ends");
    assert_eq!(ended.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("No space left"), "{ended:?}");
}

#[test]
fn ctrl_c_stops_a_replay_with_its_summary() {
    let mut child = tidegate(&["replay", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"oops\n").expect("it reads");
    // That it complains shows that it is under way.
    let mut line = String::new();
    let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    stderr.read_line(&mut line).expect("a line");
    assert_eq!(line, "line 1: not a JSON object\n");
    let pid = child.id().to_string();
    let killed = Command::new("kill").args(["-INT", &pid]).status().expect("kill");
    assert!(killed.success());
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&ended.stdout).starts_with("sent 0, "), "{ended:?}");
    drop(stdin);
}

#[test]
fn a_gateway_runs_under_its_own_name_with_an_allocator_that_gives_memory_back() {
    let gateway = crate::live::Site::with_rules(
        "CREATE RULE r AS SELECT * FROM 'lab/+' DO STREAM s KEY 'k';",
    );
    let gateway = gateway.start();
    let of_it = |name| fs::read(format!("/proc/{}/{name}", gateway.pid())).expect("it runs");
    assert_eq!(of_it("comm"), b"tidegate\n");
    let environment = of_it("environ");
    let set = environment.split(|byte| *byte == 0).find(|set| set.starts_with(b"MIMALLOC_"));
    assert_eq!(set, Some(b"MIMALLOC_PURGE_DELAY=1".as_slice()));
}
