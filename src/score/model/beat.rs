//! A point or a span of musical time, as an exact fraction of a quarter note.

use std::cmp::Ordering;
use std::fmt;

/// The finest grain a score may use. Seven nested triplets fit; a file that needs more is not music.
const MAX_DENOMINATOR: i64 = 1_000_000;
/// The longest span, in quarters. With the limit above no sum or comparison can overflow an `i64`.
const MAX_QUARTERS: i64 = 1_000_000;

/// Musical time in quarter notes: a reduced fraction, exact, so that three triplets fill a beat.
///
/// Arithmetic answers `None` where a result would be too fine or too long to keep.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Beat {
    numerator: i64,
    denominator: i64,
}

impl Beat {
    /// The start of everything; also the length of a grace note.
    pub const ZERO: Self = Self {
        numerator: 0,
        denominator: 1,
    };

    /// A whole number of quarter notes.
    #[must_use]
    pub const fn whole(quarters: u16) -> Self {
        Self {
            numerator: quarters as i64,
            denominator: 1,
        }
    }

    /// `numerator / denominator` quarters, reduced; `None` for a zero denominator or beyond the limits.
    #[must_use]
    pub fn new(numerator: i64, denominator: i64) -> Option<Self> {
        if denominator == 0 || numerator == i64::MIN || denominator == i64::MIN {
            return None;
        }
        let divisor = gcd(numerator.abs(), denominator.abs()) * denominator.signum();
        let (numerator, denominator) = (numerator / divisor, denominator / divisor);
        let fits = denominator <= MAX_DENOMINATOR && numerator.abs() <= MAX_QUARTERS * denominator;
        fits.then_some(Self {
            numerator,
            denominator,
        })
    }

    /// The fraction's upper number.
    #[must_use]
    pub const fn numerator(self) -> i64 {
        self.numerator
    }

    /// The fraction's lower number, at least 1.
    #[must_use]
    pub const fn denominator(self) -> i64 {
        self.denominator
    }

    /// The sum, if it can be kept.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        let left = self.numerator.checked_mul(other.denominator)?;
        let right = other.numerator.checked_mul(self.denominator)?;
        Self::new(
            left.checked_add(right)?,
            self.denominator.checked_mul(other.denominator)?,
        )
    }

    /// The difference, if it can be kept.
    #[must_use]
    pub fn minus(self, other: Self) -> Option<Self> {
        self.plus(Self {
            numerator: -other.numerator,
            denominator: other.denominator,
        })
    }

    /// The product with `numerator / denominator`, if it can be kept.
    #[must_use]
    pub fn scaled(self, numerator: i64, denominator: i64) -> Option<Self> {
        Self::new(
            self.numerator.checked_mul(numerator)?,
            self.denominator.checked_mul(denominator)?,
        )
    }

    /// Whether nothing lasts this long.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.numerator == 0
    }

    /// The nearest floating-point number of quarters, for answers.
    #[must_use]
    pub fn quarters(self) -> f64 {
        self.numerator as f64 / self.denominator as f64
    }
}

impl Ord for Beat {
    fn cmp(&self, other: &Self) -> Ordering {
        let left = i128::from(self.numerator) * i128::from(other.denominator);
        let right = i128::from(other.numerator) * i128::from(self.denominator);
        left.cmp(&right)
    }
}

impl PartialOrd for Beat {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Beat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.numerator, self.denominator)
    }
}

/// Greatest common divisor of two numbers that are not both zero.
fn gcd(left: i64, right: i64) -> i64 {
    if right == 0 {
        left
    } else {
        gcd(right, left % right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_triplets_are_one_beat() {
        let third = Beat::new(2, 6).unwrap();
        let sum = third.plus(third).and_then(|two| two.plus(third));
        assert_eq!(sum, Some(Beat::whole(1)));
    }

    #[test]
    fn what_does_not_fit_is_refused_not_rounded() {
        let fine = Beat::new(1, MAX_DENOMINATOR).unwrap();
        assert_eq!(fine.scaled(1, 2), None);
        assert_eq!(Beat::new(MAX_QUARTERS, 1).and_then(|b| b.plus(fine)), None);
        assert_eq!(Beat::new(1, 0), None);
        assert_eq!(Beat::new(i64::MIN, 3), None);
        assert!(fine < Beat::new(1, MAX_DENOMINATOR - 1).unwrap());
    }

    #[test]
    fn signs_are_kept_above_the_line() {
        assert_eq!(Beat::new(1, -2), Beat::new(-1, 2));
        assert_eq!(Beat::whole(1).minus(Beat::whole(3)), Beat::new(-2, 1));
    }
}
