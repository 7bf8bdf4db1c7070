//! Typed access to TOML values: each returns what it wants or reports, at the value's place, what it found instead.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    diagnostic::{Place, Report, quoted},
    duration,
};

const BOOLEAN: &str = "true or false";
const NUMBER: &str = "a whole number";
const NUMBERS: &str = "a whole number or an array of them";
const DATE: &str = "a date such as 2027-06-30";

/// A string of a policy and where it lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    pub(super) value: &'a str,
    pub(super) place: Place,
    /// Where the string's first byte lies in the file, when the file holds it as it is (no escapes).
    inner: Option<usize>,
}

impl Text<'_> {
    /// The place of a part of the string. `part` must be a slice of `value`; for any other the whole string's place is returned.
    pub(super) fn part(&self, part: &str) -> Place {
        let offset = (part.as_ptr() as usize).wrapping_sub(self.value.as_ptr() as usize);
        match self.inner {
            Some(inner) if offset <= self.value.len() && offset + part.len() <= self.value.len() => {
                Place { file: self.place.file, start: inner + offset, end: inner + offset + part.len() }
            }
            _ => self.place,
        }
    }
}

/// A value of a policy file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a> {
    value: &'a DeValue<'a>,
    pub(super) place: Place,
}

pub(super) fn place(file: usize, span: Range<usize>) -> Place {
    Place { file, start: span.start, end: span.end }
}

impl<'a> Value<'a> {
    pub(super) fn new(file: usize, value: &'a Spanned<DeValue<'a>>) -> Self {
        Self { value: value.get_ref(), place: place(file, value.span()) }
    }

    fn wrong_type(&self, key: &str, wanted: &str, report: &mut Report<'_>) {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        let message = format!("{key} must be {wanted}, not {found}");
        match self.value {
            DeValue::Integer(number) => report.error_with_hint(self.place, message, format!("write \"{}\"", number.as_str())),
            DeValue::String(text) if unquoted(text, wanted) => {
                report.error_with_hint(self.place, message, format!("without quotes: {text}"));
            }
            _ => report.error(self.place, message),
        }
    }

    pub(super) fn string(&self, key: &str, report: &mut Report<'_>) -> Option<Text<'a>> {
        let text = self.as_text(report);
        if text.is_none() {
            self.wrong_type(key, "a string", report);
        }
        text
    }

    /// What one of the `words` means.
    pub(super) fn word<T: Copy>(&self, key: &str, words: &[(&str, T)], report: &mut Report<'_>) -> Option<T> {
        let text = self.string(key, report)?;
        let found = words.iter().find(|(word, _)| *word == text.value);
        if found.is_none() {
            let message = format!("{key} cannot be {}", quoted(text.value));
            report.unknown_word(text.place, message, text.value, words.iter().map(|(word, _)| *word));
        }
        found.map(|(_, meaning)| *meaning)
    }

    pub(super) fn is_string(&self, text: &str) -> bool {
        self.value.as_str() == Some(text)
    }

    /// A string, or an array of strings with at least one element.
    pub(super) fn strings(&self, key: &str, report: &mut Report<'_>) -> Vec<Text<'a>> {
        if let Some(text) = self.as_text(report) {
            return vec![text];
        }
        let DeValue::Array(array) = self.value else {
            self.wrong_type(key, "a string or an array of strings", report);
            return Vec::new();
        };
        if array.is_empty() {
            report.error(self.place, format!("{key} names nothing: the array is empty"));
        }
        let element = |element| Value::new(self.place.file, element).string(&format!("each element of {key}"), report);
        array.iter().filter_map(element).collect()
    }

    pub(super) fn is_empty_array(&self) -> bool {
        matches!(self.value, DeValue::Array(array) if array.is_empty())
    }

    pub(super) fn boolean(&self, key: &str, report: &mut Report<'_>) -> Option<bool> {
        let boolean = self.value.as_bool();
        if boolean.is_none() {
            self.wrong_type(key, BOOLEAN, report);
        }
        boolean
    }

    pub(super) fn number(&self, key: &str, report: &mut Report<'_>) -> Option<u32> {
        let DeValue::Integer(integer) = self.value else {
            self.wrong_type(key, NUMBER, report);
            return None;
        };
        let number = u32::from_str_radix(integer.as_str(), integer.radix()).ok();
        if number.is_none() {
            report.error(self.place, format!("{key} must lie between 0 and {}", u32::MAX));
        }
        number
    }

    /// A whole number, or an array of them, and where each lies.
    pub(super) fn numbers(&self, key: &str, report: &mut Report<'_>) -> Vec<(u32, Place)> {
        let DeValue::Array(array) = self.value else {
            if !matches!(self.value, DeValue::Integer(_)) {
                self.wrong_type(key, NUMBERS, report);
                return Vec::new();
            }
            return self.number(key, report).map(|number| (number, self.place)).into_iter().collect();
        };
        let mut number = |element| {
            let element = Value::new(self.place.file, element);
            Some((element.number(&format!("each element of {key}"), report)?, element.place))
        };
        array.iter().filter_map(&mut number).collect()
    }

    /// A duration in milliseconds.
    pub(super) fn duration(&self, key: &str, report: &mut Report<'_>) -> Option<u32> {
        const HINT: &str = "write it as \"2m\", \"30s\", \"1h30m\" or \"500ms\"";
        if self.as_text(report).is_none() {
            if let DeValue::Integer(number) = self.value {
                let message = format!("{key} must be a duration with its unit");
                report.error_with_hint(self.place, message, format!("for seconds write \"{}s\"", number.as_str()));
            } else {
                self.wrong_type(key, "a duration such as \"2m\"", report);
            }
            return None;
        }
        let text = self.as_text(report)?;
        duration::parse(text.value)
            .map_err(|error| report.error_with_hint(text.place, format!("{key} = {} {error}", quoted(text.value)), HINT))
            .ok()
    }

    /// The moment from which something is over: a date means the end of that day (UTC), a time without an offset is UTC.
    pub(super) fn end_of_validity(&self, key: &str, report: &mut Report<'_>) -> Option<jiff::Timestamp> {
        let DeValue::Datetime(written) = self.value else {
            self.wrong_type(key, DATE, report);
            return None;
        };
        let moment = moment(written);
        if moment.is_none() {
            let message = format!("{key} needs a date that exists, with or without a time");
            report.error_with_hint(self.place, message, "write 2027-06-30 or 2027-06-30T18:00:00Z");
        }
        moment
    }

    pub(super) fn table(&self, key: &str, report: &mut Report<'_>) -> Option<&'a DeTable<'a>> {
        let table = self.value.as_table();
        if table.is_none() {
            self.wrong_type(key, "a table", report);
        }
        table
    }

    /// The tables of an array of tables such as `[[rule]]`.
    pub(super) fn tables(&self, key: &str, report: &mut Report<'_>) -> Vec<(&'a DeTable<'a>, Place)> {
        let DeValue::Array(array) = self.value else {
            let message = format!("{key} must be an array of tables");
            report.error_with_hint(self.place, message, format!("write [[{key}]] in doubled brackets"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for element in array.iter() {
            let element = Value::new(self.place.file, element);
            tables.extend(element.table(&format!("each {key}"), report).map(|table| (table, element.place)));
        }
        tables
    }

    fn as_text(&self, report: &Report<'_>) -> Option<Text<'a>> {
        let DeValue::String(value) = self.value else { return None };
        let Place { file, start, end } = self.place;
        let raw = report.sources().text(file).get(start..end).unwrap_or_default();
        let quotes = raw.len().saturating_sub(value.len()) / 2;
        let inner = raw.get(quotes..raw.len() - quotes).filter(|inner| inner == value).map(|_| start + quotes);
        Some(Text { value, place: self.place, inner })
    }
}

/// True when a string would be what is wanted but for its quotes.
fn unquoted(text: &str, wanted: &str) -> bool {
    let boolean = wanted == BOOLEAN && matches!(text, "true" | "false");
    let number = wanted == NUMBER && text.parse::<u32>().is_ok();
    let date = wanted == DATE && text.parse::<toml::value::Datetime>().is_ok();
    boolean || number || date
}

pub(super) fn moment(written: &toml::value::Datetime) -> Option<jiff::Timestamp> {
    use jiff::{
        civil,
        tz::{Offset, TimeZone},
    };
    use toml::value::Offset as Written;
    let date = written.date?;
    let date = civil::Date::new(i16::try_from(date.year).ok()?, i8::try_from(date.month).ok()?, i8::try_from(date.day).ok()?).ok()?;
    let Some(time) = written.time else {
        return TimeZone::UTC.to_timestamp(date.tomorrow().ok()?.at(0, 0, 0, 0)).ok();
    };
    // A leap second is the end of its minute.
    let second = time.second.unwrap_or(0).min(59);
    let nanosecond = i32::try_from(time.nanosecond.unwrap_or(0)).ok()?;
    let time =
        civil::Time::new(i8::try_from(time.hour).ok()?, i8::try_from(time.minute).ok()?, i8::try_from(second).ok()?, nanosecond).ok()?;
    let zone = match written.offset {
        None | Some(Written::Z) => TimeZone::UTC,
        Some(Written::Custom { minutes }) => TimeZone::fixed(Offset::from_seconds(i32::from(minutes) * 60).ok()?),
    };
    zone.to_timestamp(date.to_datetime(time)).ok()
}
