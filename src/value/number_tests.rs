use proptest::prelude::*;

use super::*;

fn number(text: &str) -> Number {
    Number::parse(text).unwrap()
}

#[track_caller]
fn check(result: Option<Number>, expected: &str) {
    assert_eq!(result.map(|n| n.to_string()).as_deref().unwrap_or("Undefined"), expected);
}

#[test]
fn numbers_keep_their_type_and_lose_trailing_zeros() {
    for (text, printed) in [
        ("5", "5"),
        ("-0", "0"),
        ("10.0", "10.0"),
        ("10.50", "10.5"),
        ("0.001", "0.001"),
        ("-0.25", "-0.25"),
        ("1E3", "1000.0"),
        ("1e+3", "1000.0"),
        ("5E-12", "0.000000000005"),
        ("9223372036854775807", "9223372036854775807"),
        ("9223372036854775808", "9223372036854775808"),
        ("-2.411E247", "-2.411E247"),
        ("9.99E999", "9.99E999"),
        ("1E-999", "1E-999"),
        ("1E-1000", "0.0"),
        ("123456789012345678901234567890.1234", "123456789012345678901234567890.1234"),
    ] {
        check(Number::parse(text), printed);
    }
}

#[test]
fn what_is_no_number_or_too_large_is_refused() {
    for text in [
        "",
        "-",
        ".5",
        "5.",
        "+5",
        "1e",
        "1e+",
        "1.e3",
        "0x1",
        "1 ",
        "--1",
        "1.2.3",
        "1E1000",
        "NaN",
        "Infinity",
        "12345678901234567890.",
        "1e5x",
    ] {
        check(Number::parse(text), "Undefined");
    }
}

#[test]
fn strings_convert_only_where_the_documented_expression_matches() {
    check(Number::parse_string("12E2"), "1200.0");
    check(Number::parse_string("5e-1"), "0.5");
    check(Number::parse_string("007"), "7");
    for text in ["1E+3", "+1", ".5", " 1", "abc", "1.", ""] {
        check(Number::parse_string(text), "Undefined");
    }
}

#[test]
fn int_by_int_truncates_and_decimals_do_not() {
    check(number("7").checked_div(number("2")), "3");
    check(number("-7").checked_div(number("2")), "-3");
    check(number("-7").checked_rem(number("2")), "-1");
    check(number("7").checked_div(number("2.0")), "3.5");
    check(number("2.5").checked_mul(number("2")), "5.0");
    check(number("1").checked_div(number("0.0")), "Undefined");
    check(number("1").checked_rem(number("0")), "Undefined");
    check(number("1.0").checked_div(number("3")), "0.3333333333333333333333333333333333");
    check(Number::Int(i64::MIN).checked_div(Number::Int(-1)), "9223372036854775808");
    check(Number::Int(i64::MIN).checked_rem(Number::Int(-1)), "0");
}

#[test]
fn results_beyond_64_bits_stay_exact_to_34_digits() {
    check(Number::Int(i64::MAX).checked_add(Number::Int(1)), "9223372036854775808");
    check(
        Number::Int(i64::MAX).checked_mul(Number::Int(i64::MAX)),
        "85070591730234615847396907784232500000",
    );
    check(number("9E999").checked_mul(number("10")), "Undefined");
    check(number("1E-999").checked_div(number("10")), "0.0");
    check(number("1E20").checked_sub(number("0.5")), "99999999999999999999.5");
}

#[test]
fn rounding_follows_its_mode() {
    let cases = [
        ("-1.5", [-2, -1, -1, -2]),
        ("1.5", [1, 2, 1, 2]),
        ("-1.2", [-2, -1, -1, -1]),
        ("2.0", [2, 2, 2, 2]),
    ];
    let modes =
        [Rounding::Floor, Rounding::Ceiling, Rounding::Truncate, Rounding::HalfAwayFromZero];
    for (text, expected) in cases {
        for (mode, expected) in modes.into_iter().zip(expected) {
            check(Some(number(text).round_to(0, mode)), &expected.to_string());
        }
    }
    check(Some(number("2.888").round_to(2, Rounding::Truncate)), "2.88");
    check(
        Some(number("1.00000000000000000000000009").round_to(25, Rounding::HalfAwayFromZero)),
        "1.0000000000000000000000001",
    );
    check(Some(number("1E40").round_to(2, Rounding::Truncate)), "1E40");
    assert_eq!(number("-2.411E247").to_i64_clamped(Rounding::Truncate), i64::MIN);
}

#[test]
fn doubles_become_the_decimals_they_print_as() {
    check(Number::from_f64(0.1), "0.1");
    check(Number::from_f64(32.0), "32.0");
    check(Number::from_f64(1e300), "1E300");
    check(Number::from_f64(f64::NAN), "Undefined");
    check(Number::from_f32(0.1), "0.1");
    check(Number::from_f32(-21.7), "-21.7");
    check(Number::from_f32(218.609_38), "218.609375");
    check(Number::from_f32(f32::MAX), "340282350000000000000000000000000000000");
    check(Number::from_f32(-0.0), "0.0");
    check(Number::from_f32(f32::NEG_INFINITY), "Undefined");
    assert_eq!(number("0.1").to_f64(), 0.1);
    assert_eq!(number("1E-300").to_f64(), 1e-300);
    assert_eq!(number("9007199254740993.1").to_f64(), 9007199254740993.1);
}

/// A naive model: coefficient × 10^-scale in 128 bits, for values small enough to be exact there.
#[derive(Clone, Copy, Debug)]
struct Model {
    coefficient: i64,
    scale: u32,
}

impl Model {
    fn text(self) -> String {
        let mut out = Vec::new();
        write_scaled(&mut out, i128::from(self.coefficient), usize::try_from(self.scale).unwrap());
        String::from_utf8(out).unwrap()
    }

    fn over(self, scale: u32) -> i128 {
        i128::from(self.coefficient) * 10_i128.pow(scale - self.scale)
    }
}

fn model() -> impl Strategy<Value = Model> {
    prop_oneof![
        (any::<i64>(), 0_u32..18),
        (-1000_i64..1000, 0_u32..4),
        (-1_000_000_000_000_i64..1_000_000_000_000, 0_u32..12),
    ]
    .prop_map(|(coefficient, scale)| Model { coefficient, scale })
}

/// The model's own value as a Number, built without the code under test's fast paths.
fn wide(coefficient: i128, scale: i32) -> Decimal128 {
    context().parse(format!("{coefficient}E{}", -scale)).unwrap()
}

proptest! {
    #[test]
    fn comparison_agrees_with_128_bit_integers(a in model(), b in model()) {
        let expected = a.over(18).cmp(&b.over(18));
        prop_assert_eq!(number(&a.text()).cmp(&number(&b.text())), expected);
    }

    #[test]
    fn sums_products_and_remainders_agree_with_128_bit_integers(a in model(), b in model()) {
        let (x, y) = (number(&a.text()), number(&b.text()));
        let sum = Number::Wide(wide(a.over(18) + b.over(18), 18));
        prop_assert_eq!(x.checked_add(y).unwrap(), sum);
        let difference = Number::Wide(wide(a.over(18) - b.over(18), 18));
        prop_assert_eq!(x.checked_sub(y).unwrap(), difference);
        let product = i128::from(a.coefficient) * i128::from(b.coefficient);
        let product = Number::Wide(wide(product, i32::try_from(a.scale + b.scale).unwrap()));
        prop_assert_eq!(x.checked_mul(y).unwrap(), product);
        if b.coefficient != 0 {
            let remainder = Number::Wide(wide(a.over(18) % b.over(18), 18));
            prop_assert_eq!(x.checked_rem(y).unwrap(), remainder);
        }
    }

    #[test]
    fn text_reads_back_as_the_same_number_of_the_same_type(a in model(), exponent in -40_i32..40) {
        let plain = number(&a.text());
        let again = number(&plain.to_string());
        prop_assert_eq!(plain, again);
        prop_assert_eq!(plain.is_int(), again.is_int());
        let scaled = number(&format!("{}E{exponent}", a.text()));
        prop_assert_eq!(scaled, number(&scaled.to_string()));
        prop_assert!(!scaled.is_int() || scaled.abs() >= number("1E33"));
    }

    #[test]
    fn equal_numbers_hash_alike_whatever_their_form(a in model(), zeros in 0_i32..30) {
        let hash = |number: Number| {
            use std::hash::BuildHasher;
            std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::default().hash_one(number)
        };
        let plain = number(&a.text());
        let digits = i32::try_from(a.scale).unwrap();
        let moved = number(&format!("{}E{}", a.coefficient, -digits));
        let padded = wide(i128::from(a.coefficient) * 10, digits + 1);
        let scaled = number(&format!("{}E{zeros}", a.coefficient));
        for (x, y) in [
            (plain, moved),
            (plain, plain.into_decimal()),
            (plain, from_wide(padded, Kind::Int).unwrap()),
            (scaled, scaled.into_decimal()),
            (scaled, scaled.with_whole_int()),
        ] {
            prop_assert_eq!(x, y);
            prop_assert_eq!(hash(x), hash(y), "{:?} {:?}", x, y);
        }
    }

    #[test]
    fn the_fast_way_with_an_exponent_reads_as_the_slow_one(
        text in "-?[0-9]{0,3}(\\.[0-9]{0,8})?[eE][-+]?[0-9]{0,2}",
    ) {
        let digits = text.strip_prefix('-').unwrap_or(&text);
        let slow = parse_slowly(text.as_bytes(), digits.as_bytes());
        let shown = |number: Option<Number>| number.map(|n| (n.to_string(), n.is_int()));
        prop_assert_eq!(shown(Number::parse(&text)), shown(slow));
    }

    #[test]
    fn parse_never_panics(text in "[-+.eE0-9]{0,40}") {
        let serde = serde_json::from_str::<serde_json::Number>(&text).is_ok();
        if serde {
            prop_assert!(Number::parse(&text).is_some());
        }
    }
}
