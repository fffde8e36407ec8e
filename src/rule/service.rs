//! Names of what functions for services of AWS ask: a secret or hook, by its name or Amazon Resource Name.

/// The type of secrets that are text.
pub const SECRET_STRING: &str = "SecretString";

/// Letters and digits that Secrets Manager adds to a name in an ARN, with their hyphen.
const ARN_SUFFIX_BYTES: usize = 7;

/// The name of a hook, which may be given as the ARN of a function:
/// `arn:aws:lambda:REGION:ACCOUNT:function:NAME[:ALIAS]`.
pub fn function_name(id: &str) -> &str {
    let of_arn =
        id.split_once(":function:").map(|(_, rest)| rest.split(':').next().unwrap_or(rest));
    of_arn.unwrap_or(id)
}

/// The names that a secret's id may mean, the likeliest first: the id itself, and of an ARN
/// (`arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-XXXXXX`) what stands last in it, without and with
/// the six characters that AWS puts behind a name.
pub fn secret_names(id: &str) -> impl Iterator<Item = &str> {
    let of_arn = id.starts_with("arn:").then(|| id.rsplit(':').next().unwrap_or(id));
    let bare = of_arn.and_then(|name| {
        let (bare, suffix) = name.split_at_checked(name.len().checked_sub(ARN_SUFFIX_BYTES)?)?;
        suffix.starts_with('-').then_some(bare)
    });
    [Some(id), of_arn, bare].into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_is_named_by_itself_or_by_an_arn() {
        assert_eq!(function_name("score"), "score");
        for end in ["", ":prod", ":$LATEST"] {
            let arn = format!("arn:aws:lambda:us-east-1:123456789012:function:score{end}");
            assert_eq!(function_name(&arn), "score");
        }
    }

    #[test]
    fn a_secret_is_named_by_itself_or_by_its_arn() {
        let names = |id| secret_names(id).collect::<Vec<_>>();
        assert_eq!(names("db"), ["db"]);
        let arn = "arn:aws:secretsmanager:us-west-2:123456789012:secret:db-a1b2c3";
        assert_eq!(names(arn), [arn, "db-a1b2c3", "db"]);
        assert_eq!(names("arn:aws:x:secret:db"), ["arn:aws:x:secret:db", "db"]);
    }
}
