use super::*;

#[test]
fn the_declaration_is_consistent() {
    use clap::CommandFactory;
    CommandLine::command().debug_assert();
}

#[test]
fn each_command_explains_itself() {
    use clap::CommandFactory;
    let mut command = CommandLine::command().term_width(100);
    command.build();
    insta::assert_snapshot!("help", command.render_help());
    for command in command.get_subcommands_mut() {
        if command.get_name() != "help" {
            let name = format!("help_{}", command.get_name());
            insta::assert_snapshot!(name, command.clone().term_width(100).render_long_help());
        }
    }
}

#[test]
fn usage_errors_go_to_standard_error() {
    for line in [&["tidegate"][..], &["tidegate", "replya"], &["tidegate", "replay"]] {
        assert!(parse(line).unwrap_err().use_stderr(), "{line:?}");
    }
    assert!(!parse(["tidegate", "--version"]).unwrap_err().use_stderr());
}
