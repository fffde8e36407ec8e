//! Fields of a time → an instant, as the JDK's SMART resolver does it: 24:00 is the midnight after,
//! and fields that disagree are no time. Unlike there, a day that its month does not have is no time
//! either, rather than the month's last day.

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
    /// Notes a number; `None` when the text has said another one before.
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

    /// The instant, epoch milliseconds. A date is needed; without a time of day it is midnight, and
    /// without a zone UTC.
    pub(super) fn millis(&self) -> Option<i64> {
        let date = self.date()?;
        self.agrees(date)?;
        let (seconds, nanos) = self.time()?;
        let days = seconds / SECONDS_PER_DAY;
        let time = DateTime::from_parts(date.checked_add(days.days()).ok()?, Time::midnight());
        let time = time.checked_add((seconds % SECONDS_PER_DAY).seconds()).ok()?;
        let time = time.checked_add(nanos.nanoseconds()).ok()?;
        let zone = match (self.offset, &self.zone) {
            (Some(seconds), _) => TimeZone::fixed(Offset::from_seconds(seconds).ok()?),
            (None, Some(zone)) => zone.clone(),
            (None, None) => TimeZone::UTC,
        };
        Some(time.to_zoned(zone).ok()?.timestamp().as_millisecond())
    }

    fn year(&self) -> Option<i64> {
        let of_era = self.get(Field::YearOfEra).filter(|year| *year > 0);
        let by_era = match self.get(Field::Era) {
            Some(0) => of_era.map(|year| 1 - year),
            _ => of_era,
        };
        match (self.get(Field::Year), by_era) {
            (Some(year), Some(other)) if year != other => None,
            (year, by_era) => year.or(by_era),
        }
    }

    fn date(&self) -> Option<Date> {
        if let Some(day) = self.get(Field::ModifiedJulianDay) {
            let days = Span::new().try_days(day).ok()?;
            return MODIFIED_JULIAN_EPOCH.checked_add(days).ok();
        }
        if let Some(date) = self.week_based_date() {
            return Some(date);
        }
        let first = Date::new(i16::try_from(self.year()?).ok()?, 1, 1).ok()?;
        if let Some(day) = self.get(Field::DayOfYear) {
            return first.with().day_of_year(i16::try_from(day).ok()?).build().ok();
        }
        let month = i8::try_from(self.get(Field::Month)?).ok()?;
        let first = first.with().month(month).build().ok()?;
        match (self.get(Field::DayOfMonth), self.get(Field::WeekOfMonth)) {
            (Some(day @ 1..=31), _) => first.with().day(i8::try_from(day).ok()?).build().ok(),
            (None, Some(week @ 0..=6)) => in_week(first, week, self.day_from_sunday()?),
            _ => None,
        }
    }

    /// `YYYY-ww-e`: weeks from Sunday, the first is the one with 1 January.
    fn week_based_date(&self) -> Option<Date> {
        let year = i16::try_from(self.get(Field::WeekBasedYear)?).ok()?;
        let week = self.get(Field::WeekOfYear).filter(|week| (1..=53).contains(week))?;
        in_week(Date::new(year, 1, 1).ok()?, week, self.day_from_sunday()?)
    }

    /// From 0, Sunday.
    fn day_from_sunday(&self) -> Option<i64> {
        match (self.get(Field::LocalDayOfWeek), self.get(Field::DayOfWeek)) {
            (Some(day @ 1..=7), _) => Some(day - 1),
            (None, Some(day)) => Some(day % 7),
            _ => None,
        }
    }

    /// Whether everything else that was said of the date is true of it.
    fn agrees(&self, date: Date) -> Option<()> {
        let year = i64::from(date.year());
        let weekday = date.weekday();
        let from_sunday = i64::from(weekday.to_sunday_zero_offset());
        let first = date.first_of_month().weekday().to_sunday_zero_offset();
        let facts = [
            (Field::Year, year),
            (Field::YearOfEra, if year > 0 { year } else { 1 - year }),
            (Field::Era, i64::from(year > 0)),
            (Field::Month, i64::from(date.month())),
            (Field::DayOfYear, i64::from(date.day_of_year())),
            (Field::Quarter, i64::from((date.month() - 1) / 3 + 1)),
            (Field::DayOfWeek, i64::from(weekday.to_monday_one_offset())),
            (Field::LocalDayOfWeek, from_sunday + 1),
            (Field::WeekOfMonth, (i64::from(date.day()) - 1 + i64::from(first)) / 7 + 1),
            (Field::AlignedDayInMonth, (i64::from(date.day()) - 1) % 7 + 1),
        ];
        // Years of an era without the era are of this one.
        let is_said =
            |(field, fact): &(Field, i64)| self.get(*field).is_none_or(|said| said == *fact);
        facts.iter().all(is_said).then_some(())
    }

    /// Seconds of the day, to 24 hours, and nanoseconds.
    fn time(&self) -> Option<(i64, i64)> {
        if let Some(nanos) = self.get(Field::NanoOfDay) {
            let seconds = nanos / NANOS_PER_SECOND;
            return (seconds < SECONDS_PER_DAY).then_some((seconds, nanos % NANOS_PER_SECOND));
        }
        if let Some(millis) = self.get(Field::MilliOfDay) {
            let seconds = millis / 1000;
            return (seconds < SECONDS_PER_DAY).then_some((seconds, millis % 1000 * 1_000_000));
        }
        let (minute, second) = (self.get(Field::Minute), self.get(Field::Second));
        let nano = self.get(Field::Nano);
        // A part of a time without the larger part before it is no time.
        let has_gap = (minute.is_none() && (second.is_some() || nano.is_some()))
            || (second.is_none() && nano.is_some());
        let hour = match self.hour() {
            Hour::Of(hour) if !has_gap => hour,
            Hour::Absent if minute.is_none() && !has_gap => return Some((0, 0)),
            _ => return None,
        };
        let minute = minute.unwrap_or(0);
        let (second, nano) = (second.unwrap_or(0), nano.unwrap_or(0));
        let is_right = (0..60).contains(&minute)
            && (0..60).contains(&second)
            && (0..NANOS_PER_SECOND).contains(&nano)
            && (hour < 24 || (minute, second, nano) == (0, 0, 0));
        is_right.then_some((hour * 3600 + minute * 60 + second, nano))
    }

    fn hour(&self) -> Hour {
        let within = |hour: i64, most| if (0..=most).contains(&hour) { Some(hour) } else { None };
        let half = self.get(Field::HourOfHalf).map(|hour| within(hour, 11));
        let clock_half =
            self.get(Field::ClockHourOfHalf).map(|hour| within(hour, 12).map(|hour| hour % 12));
        let of_half = half.or(clock_half).map(|hour| {
            // Without AM or PM it is not known which hour is meant.
            self.get(Field::HalfOfDay).zip(hour).map(|(half, hour)| half * 12 + hour)
        });
        let clock = self.get(Field::ClockHour).map(|hour| within(hour, 24).map(|hour| hour % 24));
        let plain = self.get(Field::Hour).map(|hour| within(hour, 24));
        let mut said = [plain, clock, of_half].into_iter().flatten();
        match said.next() {
            None => Hour::Absent,
            Some(Some(hour)) if said.all(|other| other == Some(hour)) => Hour::Of(hour),
            Some(_) => Hour::Wrong,
        }
    }
}

/// What the text says of the hour.
enum Hour {
    Absent,
    Wrong,
    Of(i64),
}

/// The day `from_sunday` of week `week`, where week 1 is the one with `first`.
fn in_week(first: Date, week: i64, from_sunday: i64) -> Option<Date> {
    let into_week = i64::from(first.weekday().to_sunday_zero_offset());
    first.checked_add(((week - 1) * 7 + from_sunday - into_week).days()).ok()
}
