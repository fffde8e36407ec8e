//! Operations by their names: each API names its own once.

/// Makes `Operation` of the names that an API has, with a text before the name that one is counted under.
macro_rules! operations {
    ($counted:literal: $($name:ident)*) => {
        /// An operation of the API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Operation {
            $($name,)*
        }

        impl Operation {
            /// All of them.
            pub(super) const ALL: &'static [Operation] = &[$(Operation::$name,)*];

            pub(super) fn parse(name: &str) -> Option<Operation> {
                let is_named = |known: &Operation| known.name().strip_prefix($counted) == Some(name);
                Operation::ALL.iter().copied().find(is_named)
            }

            /// As it is counted.
            pub(super) fn name(self) -> &'static str {
                match self {
                    $(Operation::$name => concat!($counted, stringify!($name)),)*
                }
            }
        }
    };
}

pub(super) use operations;
