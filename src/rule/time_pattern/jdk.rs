//! Patterns of the JDK's `DateTimeFormatter` (`ofPattern`, version 11), for reading.
//!
//! What each letter means in which number follows the class's own documentation. Not here: names of
//! one letter (five letters of a name's field), because they do not tell months or days apart, and
//! the generic zone name `v`.

use super::NameLength;
use super::PatternError;
use super::Token;
use super::tokens;

/// A checked pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JdkPattern(Vec<JdkItem>);

/// A piece of a [`JdkPattern`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JdkItem {
    /// Stands there as it is.
    Text(String),
    /// A field in digits.
    Number(Field, Width),
    /// A year in two digits, of this century.
    ShortYear(Field),
    /// A field in words.
    Name(Names),
    /// So many digits of a second's fraction.
    Fraction(usize),
    /// A zone's identifier or offset (`VV`).
    ZoneId,
    /// A zone's name (`z`), or its identifier.
    ZoneName(NameLength),
    /// An offset in digits.
    Offset(OffsetForm),
    /// `GMT+8`, or `GMT+08:00` in full.
    LocalizedOffset {
        /// Always with two digits of hours, and minutes.
        is_full: bool,
    },
    /// `[…]`: there or not.
    Optional(Vec<JdkItem>),
    /// The next piece, with blanks before it to this width in characters.
    Padded(usize, Box<JdkItem>),
}

/// How many digits a number has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Width {
    /// At least.
    pub least: usize,
    /// At most.
    pub most: usize,
    /// Which signs may stand before it.
    pub sign: Sign,
    /// Digits behind it that belong to fields of a fixed width.
    pub reserved: usize,
}

impl Width {
    fn is_fixed(self) -> bool {
        self.least == self.most && self.sign == Sign::Never
    }
}

/// Signs of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// None.
    Never,
    /// A minus.
    Negative,
    /// A minus, and a plus before more digits than the least, which then must have one.
    ExceedsPad,
}

/// What a number or name says of a time.
#[expect(missing_docs, reason = "the names are those of the letters in DateTimeFormatter")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Era,
    Year,
    YearOfEra,
    DayOfYear,
    Month,
    DayOfMonth,
    Quarter,
    WeekBasedYear,
    WeekOfYear,
    WeekOfMonth,
    /// From Monday.
    DayOfWeek,
    /// From Sunday.
    LocalDayOfWeek,
    AlignedDayInMonth,
    HalfOfDay,
    ClockHourOfHalf,
    HourOfHalf,
    ClockHour,
    Hour,
    Minute,
    Second,
    Nano,
    MilliOfDay,
    NanoOfDay,
    ModifiedJulianDay,
}

impl Field {
    /// How many there are.
    pub const COUNT: usize = Field::ModifiedJulianDay as usize + 1;
}

/// The words of a field.
#[expect(missing_docs, reason = "the names say it: Sep and September")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    ShortMonth,
    FullMonth,
    ShortDay,
    FullDay,
    ShortEra,
    FullEra,
    ShortQuarter,
    FullQuarter,
    HalfOfDay,
}

/// An offset in digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetForm {
    /// Whether minutes are written: never, always, or when they are not zero.
    pub has_minutes: Option<bool>,
    /// Whether seconds may follow.
    pub may_have_seconds: bool,
    /// With colons between.
    pub has_colons: bool,
    /// The text for no offset at all.
    pub zero: &'static str,
}

impl JdkPattern {
    /// Reads `pattern`.
    ///
    /// # Errors
    /// A letter that DateTimeFormatter does not know, or not in that number; a bracket or quote without
    /// its partner; more than [`TIME_PATTERN_BYTES_MAX`](crate::limits::TIME_PATTERN_BYTES_MAX) bytes.
    pub fn parse(pattern: &str) -> Result<JdkPattern, PatternError> {
        let mut builder = Builder::default();
        for token in tokens(pattern, "[]{}#")? {
            match token {
                Token::Text(text) => builder.push(JdkItem::Text(text)),
                Token::Sign('[') => builder.open()?,
                Token::Sign(']') => builder.close()?,
                Token::Sign(sign) => {
                    return Err(PatternError(format!("`{sign}` is reserved; quote it")));
                }
                Token::Field('p', count) => builder.padding = Some(count),
                Token::Field(letter, count) => builder.push(item(letter, count)?),
            }
        }
        builder.finish()
    }

    /// Its pieces in order.
    pub fn items(&self) -> &[JdkItem] {
        &self.0
    }
}

#[derive(Default)]
struct Builder {
    /// The list being filled, and those around it.
    items: Vec<JdkItem>,
    outer: Vec<Vec<JdkItem>>,
    /// The number before, when digits that follow may belong to it.
    number: Option<usize>,
    padding: Option<usize>,
}

impl Builder {
    fn push(&mut self, item: JdkItem) {
        let fixed = match &item {
            JdkItem::Number(_, width) if width.is_fixed() => Some(width.most),
            JdkItem::ShortYear(_) => Some(2),
            JdkItem::Fraction(count) => Some(*count),
            _ => None,
        };
        let item = match self.padding.take() {
            Some(width) => JdkItem::Padded(width, Box::new(item)),
            None => item,
        };
        match (fixed, &item) {
            (Some(digits), _) => {
                let before = self.number.and_then(|at| self.items.get_mut(at));
                if let Some(JdkItem::Number(_, width)) = before {
                    width.reserved += digits;
                }
            }
            (None, JdkItem::Number(..)) => self.number = Some(self.items.len()),
            (None, _) => self.number = None,
        }
        self.items.push(item);
    }

    /// `[`
    fn open(&mut self) -> Result<(), PatternError> {
        self.settle()?;
        self.outer.push(std::mem::take(&mut self.items));
        Ok(())
    }

    /// `]`
    fn close(&mut self) -> Result<(), PatternError> {
        self.settle()?;
        let Some(outer) = self.outer.pop() else {
            return Err(PatternError("`]` closes nothing".to_owned()));
        };
        let inner = std::mem::replace(&mut self.items, outer);
        self.items.push(JdkItem::Optional(inner));
        Ok(())
    }

    /// No number and no padding reaches over a bracket.
    fn settle(&mut self) -> Result<(), PatternError> {
        self.number = None;
        match self.padding.take() {
            Some(count) => Err(PatternError::letter('p', count, "pads nothing")),
            None => Ok(()),
        }
    }

    /// An open `[` is closed by the end, as in the JDK.
    fn finish(mut self) -> Result<JdkPattern, PatternError> {
        self.settle()?;
        while !self.outer.is_empty() {
            self.close()?;
        }
        Ok(JdkPattern(self.items))
    }
}

/// The piece that `count` times `letter` means.
fn item(letter: char, count: usize) -> Result<JdkItem, PatternError> {
    let wrong = |problem: &str| Err(PatternError::letter(letter, count, problem));
    let digits = |field, most| match count {
        1 => Ok(number(field, 1, 19, Sign::Negative)),
        2 if most >= 2 => Ok(number(field, 2, 2, Sign::Never)),
        _ => wrong("are too many letters"),
    };
    let words = |short, full| match count {
        1..=3 => Ok(JdkItem::Name(short)),
        4 => Ok(JdkItem::Name(full)),
        5 => wrong("means names of one letter, which do not tell them apart"),
        _ => wrong("are too many letters"),
    };
    match letter {
        'G' => words(Names::ShortEra, Names::FullEra),
        'u' => Ok(year(Field::Year, count)),
        'y' => Ok(year(Field::YearOfEra, count)),
        'Y' => Ok(year(Field::WeekBasedYear, count)),
        'D' if count <= 3 => Ok(match count {
            1 => number(Field::DayOfYear, 1, 19, Sign::Negative),
            _ => number(Field::DayOfYear, count, 3, Sign::Never),
        }),
        'M' | 'L' if count <= 2 => digits(Field::Month, 2),
        'M' | 'L' => words(Names::ShortMonth, Names::FullMonth),
        'Q' | 'q' if count <= 2 => digits(Field::Quarter, 2),
        'Q' | 'q' => words(Names::ShortQuarter, Names::FullQuarter),
        'd' => digits(Field::DayOfMonth, 2),
        'w' if count <= 2 => Ok(number(Field::WeekOfYear, count, 2, Sign::Never)),
        'W' if count == 1 => Ok(number(Field::WeekOfMonth, 1, 1, Sign::Never)),
        'F' => digits(Field::AlignedDayInMonth, 1),
        'E' => words(Names::ShortDay, Names::FullDay),
        'e' | 'c' if count == 1 => Ok(number(Field::LocalDayOfWeek, 1, 1, Sign::Never)),
        'e' if count == 2 => Ok(number(Field::LocalDayOfWeek, 2, 2, Sign::Never)),
        'c' if count == 2 => wrong("does not stand for anything; write `c` or `ccc`"),
        'e' | 'c' => words(Names::ShortDay, Names::FullDay),
        'a' if count == 1 => Ok(JdkItem::Name(Names::HalfOfDay)),
        'h' => digits(Field::ClockHourOfHalf, 2),
        'K' => digits(Field::HourOfHalf, 2),
        'k' => digits(Field::ClockHour, 2),
        'H' => digits(Field::Hour, 2),
        'm' => digits(Field::Minute, 2),
        's' => digits(Field::Second, 2),
        'S' if count <= 9 => Ok(JdkItem::Fraction(count)),
        'A' if count <= 19 => Ok(number(Field::MilliOfDay, count, 19, Sign::Never)),
        'n' if count <= 19 => Ok(number(Field::Nano, count, 19, Sign::Never)),
        'N' if count <= 19 => Ok(number(Field::NanoOfDay, count, 19, Sign::Never)),
        'g' if count <= 19 => Ok(number(Field::ModifiedJulianDay, count, 19, Sign::Negative)),
        'w' | 'W' | 'D' | 'a' | 'S' | 'A' | 'n' | 'N' | 'g' => wrong("are too many letters"),
        'V' if count == 2 => Ok(JdkItem::ZoneId),
        'V' => wrong("does not stand for anything; write `VV`"),
        'z' if count <= 3 => Ok(JdkItem::ZoneName(NameLength::Short)),
        'z' if count == 4 => Ok(JdkItem::ZoneName(NameLength::Full)),
        'O' if count == 1 || count == 4 => Ok(JdkItem::LocalizedOffset { is_full: count == 4 }),
        'X' | 'x' | 'Z' => offset(letter, count),
        'z' | 'O' => wrong("does not stand for anything in that number"),
        'v' => wrong("means a zone's generic name, which is not read here; write `VV` or `z`"),
        _ => wrong("is no letter of DateTimeFormatter; text stands in quotes"),
    }
}

fn number(field: Field, least: usize, most: usize, sign: Sign) -> JdkItem {
    JdkItem::Number(field, Width { least, most, sign, reserved: 0 })
}

fn year(field: Field, count: usize) -> JdkItem {
    match count {
        2 => JdkItem::ShortYear(field),
        1..=3 => number(field, count, 19, Sign::Negative),
        _ => number(field, count.min(19), 19, Sign::ExceedsPad),
    }
}

fn offset(letter: char, count: usize) -> Result<JdkItem, PatternError> {
    let form = |has_minutes, may_have_seconds, has_colons, zero| {
        Ok(JdkItem::Offset(OffsetForm { has_minutes, may_have_seconds, has_colons, zero }))
    };
    match (letter, count) {
        ('X', 1) => form(None, false, false, "Z"),
        ('X', 2) => form(Some(true), false, false, "Z"),
        ('X', 3) => form(Some(true), false, true, "Z"),
        ('X', 4) => form(Some(true), true, false, "Z"),
        ('X' | 'Z', 5) => form(Some(true), true, true, "Z"),
        ('x', 1) => form(None, false, false, "+00"),
        ('x', 2) => form(Some(true), false, false, "+0000"),
        ('x', 3) => form(Some(true), false, true, "+00:00"),
        ('x', 4) => form(Some(true), true, false, "+0000"),
        ('x', 5) => form(Some(true), true, true, "+00:00"),
        ('Z', 1..=3) => form(Some(true), false, false, "+0000"),
        ('Z', 4) => Ok(JdkItem::LocalizedOffset { is_full: true }),
        _ => Err(PatternError::letter(letter, count, "are too many letters")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_jdk_does_not_take_is_refused_by_name() {
        for (pattern, part) in [
            ("yyyy-MM-ddd", "`ddd`"),
            ("yyyy-MM-dd b", "`b`"),
            ("yyyy-MM-dd V", "`V`"),
            ("MMMMM", "`MMMMM`"),
            ("HHH", "`HHH`"),
            ("aa", "`aa`"),
            ("XXXXXX", "`XXXXXX`"),
            ("yyyy]", "`]`"),
            ("yyyy{", "`{`"),
            ("yyyypp", "`pp`"),
            ("SSSSSSSSSS", "`SSSSSSSS`"),
        ] {
            let error = JdkPattern::parse(pattern).unwrap_err().to_string();
            assert!(error.starts_with(part), "{pattern}: {error}");
        }
    }

    #[test]
    fn digits_are_shared_out_from_the_right() {
        let pattern = JdkPattern::parse("yyyyMMddHHmmssSSS").unwrap();
        let Some(JdkItem::Number(Field::YearOfEra, width)) = pattern.items().first() else {
            panic!("a year");
        };
        assert_eq!(width.reserved, 13);
    }
}
