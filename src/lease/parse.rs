//! Expressions as text: conditions, updates, projections, key conditions.
//!
//! A request brings the text, names for its `#placeholders` and values for its `:placeholders`. Text, words and
//! nesting are bounded by [`LEASE_EXPRESSION_BYTES_MAX`] and [`LEASE_NESTING_MAX`]; every placeholder must be used.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::expression::Action;
use super::expression::Assigned;
use super::expression::Comparison;
use super::expression::Condition;
use super::expression::Operand;
use super::expression::Path;
use super::expression::Step;
use super::value::Value;
use crate::limits::LEASE_EXPRESSION_BYTES_MAX;
use crate::limits::LEASE_NESTING_MAX;

/// What placeholders stand for.
#[derive(Debug, Default)]
pub struct Placeholders {
    /// `ExpressionAttributeNames`, with their signs.
    pub names: BTreeMap<String, String>,
    /// `ExpressionAttributeValues`, with their colons.
    pub values: BTreeMap<String, Value>,
    used: RefCell<BTreeSet<String>>,
}

impl Placeholders {
    /// Placeholders of a request.
    pub fn new(names: BTreeMap<String, String>, values: BTreeMap<String, Value>) -> Placeholders {
        Placeholders { names, values, used: RefCell::default() }
    }

    /// Whether each was used by one of the expressions that were read.
    ///
    /// # Errors
    /// One was not; the message is DynamoDB's.
    pub fn all_used(&self) -> Result<(), String> {
        let used = self.used.borrow();
        let unused = |key: &&String| !used.contains(*key);
        if let Some(key) = self.names.keys().find(unused) {
            return Err(format!(
                "Value provided in ExpressionAttributeNames unused in expressions: keys: {{{key}}}"
            ));
        }
        if let Some(key) = self.values.keys().find(unused) {
            return Err(format!(
                "Value provided in ExpressionAttributeValues unused in expressions: keys: {{{key}}}"
            ));
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A word, a `#name` or a `:value`.
    Word(String),
    Number(usize),
    Sign(&'static str),
}

const SIGNS: [&str; 14] = ["<>", "<=", ">=", "=", "<", ">", "(", ")", "[", "]", ",", ".", "+", "-"];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            tokens.push(Token::Sign(sign));
            rest = rest.strip_prefix(sign).unwrap_or_default().trim_start();
            continue;
        }
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let marked = rest.strip_prefix(['#', ':']).unwrap_or(rest);
        let end = marked.find(|c: char| !is_part(c)).unwrap_or(marked.len());
        if end == 0 {
            return Err(format!("Syntax error; token: \"{first}\""));
        }
        let (marked_word, after) = rest.split_at(rest.len() - marked.len() + end);
        tokens.push(match marked_word.parse() {
            Ok(number) => Token::Number(number),
            Err(_) => Token::Word(marked_word.to_owned()),
        });
        rest = after.trim_start();
    }
    Ok(tokens)
}

struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    placeholders: &'a Placeholders,
}

type Parsed<T> = Result<T, String>;

/// Reads all of an expression; an error names it, as DynamoDB does.
fn read<T>(
    name: &str,
    text: &str,
    placeholders: &Placeholders,
    rule: impl FnOnce(&mut Parser<'_>) -> Parsed<T>,
) -> Parsed<T> {
    let parsed = (|| {
        if text.is_empty() {
            return Err("The expression can not be empty;".to_owned());
        }
        if text.len() > LEASE_EXPRESSION_BYTES_MAX {
            return Err("Expression size has exceeded the maximum allowed size;".to_owned());
        }
        let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0, placeholders };
        let parsed = rule(&mut parser)?;
        match parser.peek() {
            None => Ok(parsed),
            Some(_) => Err(parser.unexpected()),
        }
    })();
    parsed.map_err(|message| format!("Invalid {name}: {message}"))
}

/// Reads a condition. `name` is that of the parameter it is from.
///
/// # Errors
/// It is none, or names an unknown placeholder; the message is DynamoDB's.
pub fn condition(name: &str, text: &str, placeholders: &Placeholders) -> Parsed<Condition> {
    read(name, text, placeholders, |parser| parser.any())
}

/// Reads an update.
///
/// # Errors
/// As of [`condition`].
pub fn update(text: &str, placeholders: &Placeholders) -> Parsed<Vec<Action>> {
    read("UpdateExpression", text, placeholders, |parser| parser.actions())
}

/// Reads a projection.
///
/// # Errors
/// As of [`condition`].
pub fn projection(text: &str, placeholders: &Placeholders) -> Parsed<Vec<Path>> {
    read("ProjectionExpression", text, placeholders, |parser| parser.list(Parser::path))
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn unexpected(&self) -> String {
        match self.peek() {
            Some(Token::Word(word)) => format!("Syntax error; token: \"{word}\""),
            Some(Token::Number(number)) => format!("Syntax error; token: \"{number}\""),
            Some(Token::Sign(sign)) => format!("Syntax error; token: \"{sign}\""),
            None => "Syntax error; token: <EOF>".to_owned(),
        }
    }

    fn takes_sign(&mut self, sign: &str) -> bool {
        let is_next = matches!(self.peek(), Some(Token::Sign(next)) if *next == sign);
        self.at += usize::from(is_next);
        is_next
    }

    fn needs_sign(&mut self, sign: &str) -> Parsed<()> {
        if self.takes_sign(sign) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn is_word(&self, ahead: usize, word: &str) -> bool {
        let next = self.tokens.get(self.at + ahead);
        matches!(next, Some(Token::Word(next)) if next.eq_ignore_ascii_case(word))
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let is_next = self.is_word(0, word);
        self.at += usize::from(is_next);
        is_next
    }

    /// Whether a function of this name is called next.
    fn takes_call(&mut self, name: &str) -> bool {
        let is_next =
            self.is_word(0, name) && self.tokens.get(self.at + 1) == Some(&Token::Sign("("));
        self.at += if is_next { 2 } else { 0 };
        is_next
    }

    fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut all = vec![one(self)?];
        while self.takes_sign(",") {
            all.push(one(self)?);
        }
        Ok(all)
    }

    fn deeper<T>(&mut self, rule: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.depth += 1;
        if self.depth > LEASE_NESTING_MAX {
            return Err(
                "The expression has redundant parentheses or is nested too deeply;".to_owned()
            );
        }
        let parsed = rule(self);
        self.depth -= 1;
        parsed
    }

    /// A name that stands by itself or behind a `#`.
    fn name(&mut self) -> Parsed<String> {
        let Some(Token::Word(word)) = self.peek() else { return Err(self.unexpected()) };
        let word = word.clone();
        if word.starts_with(':') {
            return Err(self.unexpected());
        }
        self.at += 1;
        if !word.starts_with('#') {
            return Ok(word);
        }
        self.placeholders.used.borrow_mut().insert(word.clone());
        self.placeholders.names.get(&word).cloned().ok_or_else(|| {
            format!(
                "An expression attribute name used in the document path is not defined; attribute \
                 name: {word}"
            )
        })
    }

    fn path(&mut self) -> Parsed<Path> {
        let mut steps = vec![Step::Name(self.name()?)];
        loop {
            if steps.len() > LEASE_NESTING_MAX {
                return Err("The document path has too many nesting elements;".to_owned());
            }
            if self.takes_sign(".") {
                steps.push(Step::Name(self.name()?));
            } else if self.takes_sign("[") {
                let Some(Token::Number(place)) = self.peek() else { return Err(self.unexpected()) };
                steps.push(Step::Index(*place));
                self.at += 1;
                self.needs_sign("]")?;
            } else {
                return Ok(Path(steps));
            }
        }
    }

    /// A `:value`, if one is next.
    fn value(&mut self) -> Parsed<Option<Value>> {
        let Some(Token::Word(word)) = self.peek().filter(is_value) else {
            return Ok(None);
        };
        let word = word.clone();
        self.at += 1;
        self.placeholders.used.borrow_mut().insert(word.clone());
        let found = self.placeholders.values.get(&word).cloned();
        found.map(Some).ok_or_else(|| {
            format!(
                "An expression attribute value used in expression is not defined; attribute value: \
                 {word}"
            )
        })
    }

    fn needs_value(&mut self) -> Parsed<Value> {
        self.value()?.ok_or_else(|| self.unexpected())
    }

    fn operand(&mut self) -> Parsed<Operand> {
        if let Some(value) = self.value()? {
            return Ok(Operand::Value(value));
        }
        if self.takes_call("size") {
            let path = self.path()?;
            self.needs_sign(")")?;
            return Ok(Operand::Size(path));
        }
        self.path().map(Operand::Path)
    }

    fn any(&mut self) -> Parsed<Condition> {
        let mut any = vec![self.all()?];
        while self.takes_word("OR") {
            any.push(self.all()?);
        }
        Ok(single(any).unwrap_or_else(Condition::Any))
    }

    fn all(&mut self) -> Parsed<Condition> {
        let mut all = vec![self.not()?];
        while self.takes_word("AND") {
            all.push(self.not()?);
        }
        Ok(single(all).unwrap_or_else(Condition::All))
    }

    fn not(&mut self) -> Parsed<Condition> {
        if self.takes_word("NOT") {
            let condition = self.deeper(Parser::not)?;
            return Ok(Condition::Not(Box::new(condition)));
        }
        if self.takes_sign("(") {
            let condition = self.deeper(Parser::any)?;
            self.needs_sign(")")?;
            return Ok(condition);
        }
        if let Some(condition) = self.function()? {
            return Ok(condition);
        }
        self.comparison()
    }

    fn function(&mut self) -> Parsed<Option<Condition>> {
        let condition = if self.takes_call("attribute_exists") {
            Condition::Exists(self.path()?)
        } else if self.takes_call("attribute_not_exists") {
            Condition::IsMissing(self.path()?)
        } else if self.takes_call("attribute_type") {
            let path = self.path()?;
            self.needs_sign(",")?;
            match self.needs_value()? {
                Value::Text(kind) => Condition::IsType(path, kind),
                _ => return Err("Incorrect operand type for operator or function;".to_owned()),
            }
        } else if self.takes_call("begins_with") {
            let value = self.operand()?;
            self.needs_sign(",")?;
            Condition::BeginsWith(value, self.operand()?)
        } else if self.takes_call("contains") {
            let whole = self.operand()?;
            self.needs_sign(",")?;
            Condition::Contains(whole, self.operand()?)
        } else {
            return Ok(None);
        };
        self.needs_sign(")")?;
        Ok(Some(condition))
    }

    fn comparison(&mut self) -> Parsed<Condition> {
        let left = self.operand()?;
        if self.takes_word("BETWEEN") {
            let low = self.operand()?;
            if !self.takes_word("AND") {
                return Err(self.unexpected());
            }
            return Ok(Condition::Between(left, low, self.operand()?));
        }
        if self.takes_word("IN") {
            self.needs_sign("(")?;
            let among = self.list(Parser::operand)?;
            self.needs_sign(")")?;
            return Ok(Condition::In(left, among));
        }
        let comparison = match self.peek() {
            Some(Token::Sign("=")) => Comparison::Equal,
            Some(Token::Sign("<>")) => Comparison::NotEqual,
            Some(Token::Sign("<")) => Comparison::Less,
            Some(Token::Sign("<=")) => Comparison::LessOrEqual,
            Some(Token::Sign(">")) => Comparison::Greater,
            Some(Token::Sign(">=")) => Comparison::GreaterOrEqual,
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        Ok(Condition::Compare(left, comparison, self.operand()?))
    }

    fn actions(&mut self) -> Parsed<Vec<Action>> {
        let mut actions = Vec::new();
        let mut seen = Vec::new();
        while let Some(token) = self.peek() {
            let word = match token {
                Token::Word(word) => word.to_ascii_uppercase(),
                _ => return Err(self.unexpected()),
            };
            if seen.contains(&word) {
                return Err(format!(
                    "The \"{word}\" section can only be used once in an update expression;"
                ));
            }
            let one: fn(&mut Self) -> Parsed<Action> = match &*word {
                "SET" => Parser::set,
                "REMOVE" => |parser| parser.path().map(Action::Remove),
                "ADD" => |parser| Ok(Action::Add(parser.path()?, parser.needs_value()?)),
                "DELETE" => |parser| Ok(Action::Delete(parser.path()?, parser.needs_value()?)),
                _ => return Err(self.unexpected()),
            };
            self.at += 1;
            actions.extend(self.list(one)?);
            seen.push(word);
        }
        Ok(actions)
    }

    fn set(&mut self) -> Parsed<Action> {
        let path = self.path()?;
        self.needs_sign("=")?;
        let mut assigned = self.assigned()?;
        if self.takes_sign("+") {
            assigned = Assigned::Plus(Box::new(assigned), Box::new(self.assigned()?));
        } else if self.takes_sign("-") {
            assigned = Assigned::Minus(Box::new(assigned), Box::new(self.assigned()?));
        }
        Ok(Action::Set(path, assigned))
    }

    fn assigned(&mut self) -> Parsed<Assigned> {
        if self.takes_sign("(") {
            let assigned = self.deeper(Parser::assigned)?;
            self.needs_sign(")")?;
            return Ok(assigned);
        }
        if self.takes_call("if_not_exists") {
            let path = self.path()?;
            self.needs_sign(",")?;
            let default = self.deeper(Parser::assigned)?;
            self.needs_sign(")")?;
            return Ok(Assigned::Default(path, Box::new(default)));
        }
        if self.takes_call("list_append") {
            let first = self.deeper(Parser::assigned)?;
            self.needs_sign(",")?;
            let second = self.deeper(Parser::assigned)?;
            self.needs_sign(")")?;
            return Ok(Assigned::Append(Box::new(first), Box::new(second)));
        }
        self.operand().map(Assigned::Operand)
    }
}

fn is_value(token: &&Token) -> bool {
    matches!(token, Token::Word(word) if word.starts_with(':'))
}

/// The only one of several, or all of them.
fn single(mut all: Vec<Condition>) -> Result<Condition, Vec<Condition>> {
    match all.len() {
        1 => all.pop().ok_or(all),
        _ => Err(all),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::lease::expression::apply;
    use crate::lease::expression::project;
    use crate::lease::value::Item;
    use crate::lease::value::parse_item;
    use crate::lease::value::to_json;

    fn item(json: serde_json::Value) -> Item {
        parse_item(json.as_object().unwrap()).unwrap()
    }

    fn placeholders() -> Placeholders {
        let names = [("#a", "shards"), ("#b", "shard-1"), ("#v", "version")];
        let names = names.map(|(key, name)| (key.to_owned(), name.to_owned()));
        let values = json!({
            ":n": {"N": "5"}, ":s": {"S": "b"}, ":z": {"NULL": true}, ":m": {"M": {}},
            ":set": {"SS": ["x"]}, ":l": {"L": [{"S": "new"}]}, ":t": {"S": "N"},
        });
        Placeholders::new(names.into(), item(values))
    }

    fn lease() -> Item {
        item(json!({
            "key": {"S": "k"}, "n": {"N": "4"}, "z": {"NULL": true}, "version": {"S": "b"},
            "shards": {"M": {"shard-1": {"M": {"owner": {"S": "abc"}}}}},
            "set": {"SS": ["x", "y"]}, "list": {"L": [{"S": "0"}, {"S": "1"}, {"S": "2"}]},
        }))
    }

    #[test]
    fn conditions_hold_as_in_dynamodb() {
        for (text, expected) in [
            ("attribute_not_exists(nobody)", true),
            ("attribute_exists(#a.#b.owner) AND n < :n", true),
            ("#a.#b.owner = :s OR n = :n", false),
            ("NOT (n >= :n)", true),
            ("z = :z and nobody <> :z", true),
            ("nobody = :z", false),
            ("#v = :s", true),
            ("n BETWEEN :n AND :n", false),
            ("#v IN (:n, :s)", true),
            ("attribute_type(n, :t)", true),
            ("begins_with(#a.#b.owner, key)", false),
            ("contains(#a.#b.owner, :s)", true),
            ("contains(set, :s)", false),
            ("size(list) < :n", true),
            ("list[1] <> list[2] AND attribute_not_exists(list[3])", true),
            ("n < :s", false),
        ] {
            let parsed = condition("ConditionExpression", text, &placeholders()).unwrap();
            assert_eq!(parsed.holds(&lease()), expected, "{text}");
        }
    }

    #[test]
    fn updates_change_what_they_name() {
        let placeholders = placeholders();
        for (text, path, expected) in [
            ("SET n = n + :n", "n", json!({"N": "9"})),
            ("SET n = :n - n, fresh = :s", "n", json!({"N": "1"})),
            (
                "SET #a.#b.owner = :z",
                "shards",
                json!({"M": {"shard-1": {"M": {"owner": {"NULL": true}}}}}),
            ),
            (
                "SET #a.added = if_not_exists(#a.added, :m) REMOVE #a.#b",
                "shards",
                json!({"M": {"added": {"M": {}}}}),
            ),
            ("SET n = if_not_exists(n, :s)", "n", json!({"N": "4"})),
            (
                "SET list = list_append(list, :l) ",
                "list",
                json!({"L": [{"S": "0"}, {"S": "1"}, {"S": "2"}, {"S": "new"}]}),
            ),
            ("REMOVE list[0], list[1]", "list", json!({"L": [{"S": "2"}]})),
            ("ADD n :n, made :n", "n", json!({"N": "9"})),
            ("DELETE set :set", "set", json!({"SS": ["y"]})),
            ("remove nobody set n = list[2]", "n", json!({"S": "2"})),
        ] {
            let mut item = lease();
            apply(&mut item, &update(text, &placeholders).unwrap()).unwrap();
            assert_eq!(to_json(&item)[path], expected, "{text}");
        }
        for (text, says) in [
            ("SET nobody.x = :n", "document path"),
            ("SET n = nobody", "does not exist"),
            ("SET n = n + :s", "incorrect data type"),
            ("ADD key :n", "incorrect data type"),
            ("SET #a = :m, #a.#b = :m", "overlap"),
        ] {
            let error = apply(&mut lease(), &update(text, &placeholders).unwrap()).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_in_dynamodb_s_words() {
        let placeholders = placeholders();
        let refused =
            |text: &str| condition("ConditionExpression", text, &placeholders).unwrap_err();
        assert_eq!(refused("n ="), "Invalid ConditionExpression: Syntax error; token: <EOF>");
        assert_eq!(refused("n ; m"), "Invalid ConditionExpression: Syntax error; token: \";\"");
        assert!(refused("n = :none").contains("attribute value: :none"));
        assert!(refused("#none = n").contains("attribute name: #none"));
        assert!(refused(&"(".repeat(1000)).contains("nested too deeply"));
        assert!(refused(&"x".repeat(5000)).contains("maximum allowed size"));
        assert!(update("SET a = :n SET b = :n", &placeholders).unwrap_err().contains("once"));
        assert!(placeholders.all_used().unwrap_err().contains("unused in expressions"));
    }

    #[test]
    fn a_projection_has_the_parts_that_it_names() {
        let placeholders = placeholders();
        let paths =
            projection("key, #a.#b.owner, list[1], list[2], nobody", &placeholders).unwrap();
        let expected = json!({
            "key": {"S": "k"}, "list": {"L": [{"S": "1"}, {"S": "2"}]},
            "shards": {"M": {"shard-1": {"M": {"owner": {"S": "abc"}}}}},
        });
        assert_eq!(to_json(&project(&lease(), &paths)), expected);
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(
            words in prop::collection::vec(
                prop::sample::select(vec![
                    "a", "#a", ":n", ":s", ".", "[", "0", "]", "(", ")", ",", "=", "<>", "SET", "REMOVE",
                    "ADD", "DELETE", "AND", "NOT", "IN", "BETWEEN", "size", "if_not_exists", "+", "é", "#",
                ]),
                0..30,
            ),
        ) {
            let text = words.join(" ");
            let placeholders = placeholders();
            drop(condition("ConditionExpression", &text, &placeholders).map(|c| c.holds(&lease())));
            drop(update(&text, &placeholders).map(|actions| apply(&mut lease(), &actions)));
            drop(projection(&text, &placeholders).map(|paths| project(&lease(), &paths)));
        }
    }
}
