//! The aggregates: functions over the messages of a window.
//!
//! One table, sorted by name; none has the name of a [`super::function::Function`]. `check` says where
//! they may stand, the engine gathers each [`Aggregate`]. `docs/language.md` lists the same; a test
//! compares them.

/// What is told of the values of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Aggregate {
    /// `avg`
    Avg,
    /// `collect`
    Collect,
    /// `count`
    Count,
    /// `count_distinct`
    CountDistinct,
    /// `first`
    First,
    /// `last`
    Last,
    /// `max`
    Max,
    /// `min`
    Min,
    /// `percentile`, and `median`, which is `percentile(x, 50)`.
    Percentile,
    /// `stddev_pop`
    StddevPop,
    /// `stddev`, `stddev_samp`
    StddevSamp,
    /// `sum`
    Sum,
    /// `var_pop`
    VarPop,
    /// `variance`, `var_samp`
    VarSamp,
}

/// What is known of an aggregate before it is called.
#[derive(Clone, Copy, Debug)]
pub struct AggregateSpec {
    /// Its name in lower case.
    pub name: &'static str,
    /// Which one it is.
    pub aggregate: Aggregate,
    /// How many arguments it takes.
    pub args: usize,
}

const fn spec(name: &'static str, aggregate: Aggregate, args: usize) -> AggregateSpec {
    AggregateSpec { name, aggregate, args }
}

/// All aggregates, sorted by name.
pub const AGGREGATES: &[AggregateSpec] = &[
    spec("avg", Aggregate::Avg, 1),
    spec("collect", Aggregate::Collect, 1),
    spec("count", Aggregate::Count, 1),
    spec("count_distinct", Aggregate::CountDistinct, 1),
    spec("first", Aggregate::First, 1),
    spec("last", Aggregate::Last, 1),
    spec("max", Aggregate::Max, 1),
    spec("median", Aggregate::Percentile, 1),
    spec("min", Aggregate::Min, 1),
    spec("percentile", Aggregate::Percentile, 2),
    spec("stddev", Aggregate::StddevSamp, 1),
    spec("stddev_pop", Aggregate::StddevPop, 1),
    spec("stddev_samp", Aggregate::StddevSamp, 1),
    spec("sum", Aggregate::Sum, 1),
    spec("var_pop", Aggregate::VarPop, 1),
    spec("var_samp", Aggregate::VarSamp, 1),
    spec("variance", Aggregate::VarSamp, 1),
];

/// The aggregate called `name`, in any case.
pub fn lookup(name: &str) -> Option<&'static AggregateSpec> {
    AGGREGATES.iter().find(|spec| spec.name.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::function;

    #[test]
    fn no_aggregate_has_the_name_of_a_function() {
        assert!(AGGREGATES.is_sorted_by(|a, b| a.name < b.name));
        for spec in AGGREGATES {
            assert!(function::lookup(spec.name).is_none(), "{}", spec.name);
            assert!(lookup(&spec.name.to_ascii_uppercase()).is_some());
        }
    }

    #[test]
    fn the_manual_lists_the_aggregates_as_the_table_has_them() {
        let manual = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/language.md"));
        let (_, table) = manual.split_once("| aggregate | what it is |").unwrap();
        let rows = table.lines().skip(2).take_while(|line| line.starts_with("| `"));
        let mut listed: Vec<&str> = Vec::new();
        for row in rows {
            let calls = row.split('|').nth(1).unwrap_or_default();
            listed.extend(calls.split('`').skip(1).step_by(2).filter_map(|c| c.split('(').next()));
        }
        listed.sort_unstable();
        // `count` is listed in both of its forms.
        listed.dedup();
        let expected: Vec<&str> = AGGREGATES.iter().map(|spec| spec.name).collect();
        assert_eq!(listed, expected);
    }
}
