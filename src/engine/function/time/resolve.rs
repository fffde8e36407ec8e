//! Fields of a time → an instant, as the JDK's SMART resolver does it (`java.time.format.Parsed`): some
//! fields make a date and a time and are used up by that, and whatever else the text says must be true of
//! them. 24:00 is the midnight after.
//!
//! Unlike there, a day that its month does not have, or week 53 of a year of 52, is no time, rather
//! than the month's or year's last one; and a part of a time that makes none (`mm` without an hour) is none
//! either, rather than midnight.

use jiff::Span;
use jiff::ToSpan;
use jiff::civil::Date;
use jiff::civil::DateTime;
use jiff::civil::Time;
use jiff::tz::Offset;
use jiff::tz::TimeZone;

use crate::rule::time_pattern::Field;

/// Day 0 of the Modified Julian Day Number.
const MODIFIED_JULIAN_EPOCH: Date = Date::constant(1858, 11, 17);
const NANOS_PER_SECOND: i64 = 1_000_000_000;
const NANOS_PER_MILLI: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 24 * 3600;

/// What has been read of a time.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    numbers: [Option<i64>; Field::COUNT],
    offset: Option<i32>,
    zone: Option<TimeZone>,
}

impl Default for Fields {
    fn default() -> Self {
        Fields { numbers: [None; Field::COUNT], offset: None, zone: None }
    }
}

impl Fields {
    /// Notes a number; `None` when another one has been said before.
    pub(super) fn set(&mut self, field: Field, number: i64) -> Option<()> {
        let slot = self.numbers.get_mut(field as usize)?;
        (*slot.get_or_insert(number) == number).then_some(())
    }

    pub(super) fn set_offset(&mut self, seconds: i32) -> Option<()> {
        (*self.offset.get_or_insert(seconds) == seconds).then_some(())
    }

    pub(super) fn set_zone(&mut self, zone: TimeZone) -> Option<()> {
        (*self.zone.get_or_insert(zone.clone()) == zone).then_some(())
    }

    fn get(&self, field: Field) -> Option<i64> {
        self.numbers.get(field as usize).copied().flatten()
    }

    fn take(&mut self, field: Field) -> Option<i64> {
        self.numbers.get_mut(field as usize).and_then(Option::take)
    }

    /// Uses up all of `fields`; none when one of them has not been said.
    fn take_all<const N: usize>(&mut self, fields: [Field; N]) -> Option<[i64; N]> {
        if fields.iter().any(|field| self.get(*field).is_none()) {
            return None;
        }
        Some(fields.map(|field| self.take(field).unwrap_or_default()))
    }

    /// The instant, epoch milliseconds. A date is needed; without a time of day it is midnight, and
    /// without a zone UTC.
    pub(super) fn millis(mut self) -> Option<i64> {
        let date = self.date()?;
        self.agrees_with_date(date)?;
        let (seconds, nanos) = self.time()?;
        let days = seconds / SECONDS_PER_DAY;
        let time = DateTime::from_parts(date.checked_add(days.days()).ok()?, Time::midnight());
        let time = time.checked_add((seconds % SECONDS_PER_DAY).seconds()).ok()?;
        let zone = match (self.offset, self.zone) {
            (Some(seconds), _) => TimeZone::fixed(Offset::from_seconds(seconds).ok()?),
            (None, Some(zone)) => zone,
            (None, None) => TimeZone::UTC,
        };
        let seconds = time.to_zoned(zone).ok()?.timestamp().as_second();
        Some(seconds * 1000 + nanos / NANOS_PER_MILLI)
    }

    fn date(&mut self) -> Option<Date> {
        self.resolve_year()?;
        self.resolve_day_of_week()?;
        let mut found = None;
        for date in [Self::calendar_date, Self::julian_date, Self::week_date] {
            if let Said::Date(date) = date(self)?
                && *found.get_or_insert(date) != date
            {
                return None;
            }
        }
        found
    }

    /// `y` and `G` become `u`.
    fn resolve_year(&mut self) -> Option<()> {
        let Some(of_era) = self.take(Field::YearOfEra) else { return Some(()) };
        if of_era < 1 {
            return None;
        }
        let is_before = match self.take(Field::Era) {
            Some(era) => era == 0,
            // Years of an era without the era are of this one, unless `u` says otherwise.
            None => self.get(Field::Year).is_some_and(|year| year <= 0),
        };
        self.set(Field::Year, if is_before { 1 - of_era } else { of_era })
    }

    /// `e` and `c`, from Sunday, become `E`, from Monday.
    fn resolve_day_of_week(&mut self) -> Option<()> {
        match self.take(Field::LocalDayOfWeek) {
            None => Some(()),
            Some(day @ 1..=7) => self.set(Field::DayOfWeek, (day + 5) % 7 + 1),
            Some(_) => None,
        }
    }

    /// A year with a month and its day, or with the day of the year.
    fn calendar_date(&mut self) -> Option<Said> {
        if let Some([year, month, day]) =
            self.take_all([Field::Year, Field::Month, Field::DayOfMonth])
        {
            let month = i8::try_from(month).ok()?;
            return Said::date(Date::new(to_year(year)?, month, i8::try_from(day).ok()?));
        }
        if let Some([year, day]) = self.take_all([Field::Year, Field::DayOfYear]) {
            let day = i16::try_from(day).ok()?;
            let first = Date::new(to_year(year)?, 1, 1).ok()?;
            return Said::date(first.with().day_of_year(day).build());
        }
        Some(Said::Nothing)
    }

    fn julian_date(&mut self) -> Option<Said> {
        match self.take(Field::ModifiedJulianDay) {
            None => Some(Said::Nothing),
            Some(day) => {
                Said::date(MODIFIED_JULIAN_EPOCH.checked_add(Span::new().try_days(day).ok()?))
            }
        }
    }

    /// A day of the week in a week of the month, which may lie in the month before or behind; or, where
    /// no calendar year is said, in a week of a week-based year.
    fn week_date(&mut self) -> Option<Said> {
        let Some(day) = self.get(Field::DayOfWeek) else { return Some(Said::Nothing) };
        if self.get(Field::Year).is_none() {
            return self.week_based_date(day);
        }
        let fields = [Field::Year, Field::Month, Field::WeekOfMonth];
        let Some([year, month, week]) = self.take_all(fields) else {
            return Some(Said::Nothing);
        };
        self.take(Field::DayOfWeek);
        let first = Date::new(to_year(year)?, i8::try_from(month).ok()?, 1).ok()?;
        if !(0..=6).contains(&week) {
            return None;
        }
        in_week(first, week, day).map(Said::Date)
    }

    /// `YYYY-ww-e`: weeks from Sunday, the first is the one with 1 January.
    fn week_based_date(&mut self, day: i64) -> Option<Said> {
        let fields = [Field::WeekBasedYear, Field::WeekOfYear];
        let Some([year, week]) = self.take_all(fields) else { return Some(Said::Nothing) };
        self.take(Field::DayOfWeek);
        let date = in_week(Date::new(to_year(year)?, 1, 1).ok()?, week, day)?;
        (week_of_year(date) == (year, week)).then_some(Said::Date(date))
    }

    /// Whether what is left of the text is true of `date`.
    fn agrees_with_date(&self, date: Date) -> Option<()> {
        let year = i64::from(date.year());
        let weekday = date.weekday();
        let first = date.first_of_month().weekday().to_sunday_zero_offset();
        let (week_based_year, week) = week_of_year(date);
        self.agrees([
            (Field::Era, i64::from(year > 0)),
            (Field::Year, year),
            (Field::DayOfYear, i64::from(date.day_of_year())),
            (Field::Month, i64::from(date.month())),
            (Field::DayOfMonth, i64::from(date.day())),
            (Field::Quarter, i64::from((date.month() - 1) / 3 + 1)),
            (Field::WeekBasedYear, week_based_year),
            (Field::WeekOfYear, week),
            (Field::WeekOfMonth, (i64::from(date.day()) - 1 + i64::from(first)) / 7 + 1),
            (Field::DayOfWeek, i64::from(weekday.to_monday_one_offset())),
            (Field::AlignedDayInMonth, (i64::from(date.day()) - 1) % 7 + 1),
        ])
    }

    fn agrees<const N: usize>(&self, facts: [(Field, i64); N]) -> Option<()> {
        let is_said =
            |(field, fact): &(Field, i64)| self.get(*field).is_none_or(|said| said == *fact);
        facts.iter().all(is_said).then_some(())
    }

    /// Seconds of the day, to 24 hours, and nanoseconds.
    fn time(&mut self) -> Option<(i64, i64)> {
        self.resolve_hour()?;
        self.resolve_time_of_day()?;
        let (minute, second) = (self.take(Field::Minute), self.take(Field::Second));
        let nano = self.take(Field::Nano);
        // A part of a time without the larger part before it is no time.
        let has_gap = (minute.is_none() && (second.is_some() || nano.is_some()))
            || (second.is_none() && nano.is_some());
        let hour = self.take(Field::Hour);
        let is_absent = minute.is_none()
            && self.get(Field::HourOfHalf).is_none()
            && self.get(Field::HalfOfDay).is_none();
        let hour = match hour {
            _ if has_gap => return None,
            Some(hour) => hour,
            None if is_absent => return Some((0, 0)),
            None => return None,
        };
        let minute = minute.unwrap_or(0);
        let (second, nano) = (second.unwrap_or(0), nano.unwrap_or(0));
        let is_right = (0..60).contains(&minute)
            && (0..60).contains(&second)
            && (0..NANOS_PER_SECOND).contains(&nano)
            && ((0..24).contains(&hour) || (hour, minute, second, nano) == (24, 0, 0, 0));
        self.agrees([(Field::HourOfHalf, hour % 12), (Field::HalfOfDay, hour % 24 / 12)])?;
        is_right.then_some((hour * 3600 + minute * 60 + second, nano))
    }

    /// `k` becomes `H`, `h` becomes `K`, and `K` with `a` is `H`.
    fn resolve_hour(&mut self) -> Option<()> {
        if let Some(hour) = self.take(Field::ClockHour) {
            self.set(Field::Hour, within(hour, 24)? % 24)?;
        }
        if let Some(hour) = self.take(Field::ClockHourOfHalf) {
            self.set(Field::HourOfHalf, within(hour, 12)? % 12)?;
        }
        if let Some([half, hour]) = self.take_all([Field::HalfOfDay, Field::HourOfHalf]) {
            self.set(Field::Hour, half * 12 + within(hour, 11)?)?;
        }
        Some(())
    }

    /// `N` and `A` become `H`, `m`, `s` and `n`.
    fn resolve_time_of_day(&mut self) -> Option<()> {
        if let Some(nanos) = self.take(Field::NanoOfDay) {
            self.set_seconds(nanos / NANOS_PER_SECOND)?;
            self.set(Field::Nano, nanos % NANOS_PER_SECOND)?;
        }
        if let Some(millis) = self.take(Field::MilliOfDay) {
            self.set_seconds(millis / 1000)?;
            match self.get(Field::Nano) {
                Some(nano) if nano / NANOS_PER_MILLI != millis % 1000 => return None,
                Some(_) => {}
                None => self.set(Field::Nano, millis % 1000 * NANOS_PER_MILLI)?,
            }
        }
        Some(())
    }

    /// Seconds of a day as `H`, `m` and `s`.
    fn set_seconds(&mut self, seconds: i64) -> Option<()> {
        let seconds = within(seconds, SECONDS_PER_DAY - 1)?;
        self.set(Field::Hour, seconds / 3600)?;
        self.set(Field::Minute, seconds / 60 % 60)?;
        self.set(Field::Second, seconds % 60)
    }
}

/// What some fields say of the date.
enum Said {
    Nothing,
    Date(Date),
}

impl Said {
    fn date(date: Result<Date, jiff::Error>) -> Option<Said> {
        date.ok().map(Said::Date)
    }
}

fn within(number: i64, most: i64) -> Option<i64> {
    (0..=most).contains(&number).then_some(number)
}

fn to_year(year: i64) -> Option<i16> {
    i16::try_from(year).ok()
}

/// The day `weekday`, from Monday, of week `week`, where week 1 is the one with `first` and begins on
/// Sunday.
fn in_week(first: Date, week: i64, weekday: i64) -> Option<Date> {
    let into_week = i64::from(first.weekday().to_sunday_zero_offset());
    let days = week.checked_sub(1)?.checked_mul(7)?.checked_add(weekday % 7 - into_week)?;
    first.checked_add(Span::new().try_days(days).ok()?).ok()
}

/// The week-based year and the week in it: weeks from Sunday, the first is the one with 1 January.
fn week_of_year(date: Date) -> (i64, i64) {
    let sunday = i64::from(date.weekday().to_sunday_zero_offset());
    // The year is that of the week's Saturday.
    let saturday = i64::from(date.day_of_year()) + 6 - sunday;
    let year = i64::from(date.year());
    if saturday > i64::from(date.days_in_year()) {
        return (year + 1, 1);
    }
    (year, (saturday - 1) / 7 + 1)
}
