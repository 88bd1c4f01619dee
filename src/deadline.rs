//! When work ends with what it has by then: an instant that long loops look at now and then.
//!
//! A look at the clock takes some tens of nanoseconds, so loops say how much they do ([`Deadline::spends`]), and the clock is
//! looked at once in some tens of microseconds of work. Work that is shorter than that is done whole, however late it begins.
//! A deadline remembers that it was found to have passed: whoever asked it must then tell that the result was cut short.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// See the module's page. For one thread.
#[derive(Debug, Default, Clone)]
pub struct Deadline {
    when: When,
    passed: Cell<bool>,
    /// Work so far, and how much it is at the next look at the clock.
    spent: Cell<usize>,
    look: Cell<usize>,
}

#[derive(Debug, Default, Clone, Copy)]
enum When {
    #[default]
    Never,
    At(Instant),
    /// After so much work.
    #[cfg(test)]
    After(usize),
}

impl Deadline {
    /// Work between two looks at the clock.
    pub const LOOK: usize = 1 << 15;

    /// At an instant, or never.
    pub fn at(at: Option<Instant>) -> Deadline {
        Deadline::new(at.map_or(When::Never, When::At))
    }

    /// Never.
    pub fn never() -> Deadline {
        Deadline::default()
    }

    /// After so much work, to within [`Deadline::LOOK`]; for tests, which cannot rely on clocks.
    #[cfg(test)]
    pub(crate) fn after(work: usize) -> Deadline {
        Deadline::new(When::After(work))
    }

    /// One that comes so much later than this; than now, if this has passed.
    pub fn later(&self, by: Duration) -> Deadline {
        Deadline::new(match self.when {
            When::At(at) => at.max(Instant::now()).checked_add(by).map_or(When::Never, When::At),
            #[cfg(test)]
            When::After(work) => When::After(work + by.as_nanos() as usize),
            When::Never => When::Never,
        })
    }

    fn new(when: When) -> Deadline {
        Deadline { when, look: Cell::new(Deadline::LOOK), ..Deadline::default() }
    }

    /// Whether somebody was told that it has passed.
    pub fn has_passed(&self) -> bool {
        self.passed.get()
    }

    /// Whether it has passed, by the clock.
    pub fn passes_now(&self) -> bool {
        let passed = self.passed.get()
            || match self.when {
                When::Never => false,
                When::At(at) => Instant::now() >= at,
                #[cfg(test)]
                When::After(work) => self.spent.get() >= work,
            };
        self.passed.set(passed);
        passed
    }

    /// Whether to end, before `work` more (about a nanosecond each): looks at the clock now and then.
    #[inline]
    pub fn spends(&self, work: usize) -> bool {
        if matches!(self.when, When::Never) {
            return false;
        }
        let spent = self.spent.get() + work;
        self.spent.set(spent);
        if spent < self.look.get() {
            return self.passed.get();
        }
        self.look.set(spent + Deadline::LOOK);
        self.passes_now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_looked_at_once_in_a_while() {
        let past = Deadline::at(Some(Instant::now()));
        assert!(!past.spends(Deadline::LOOK - 1) && !past.has_passed(), "what is short is done whole");
        assert!(past.spends(1) && past.has_passed() && past.spends(0));
        assert!(Deadline::at(Some(Instant::now())).passes_now());
        let after = Deadline::after(3 * Deadline::LOOK);
        assert_eq!((0..4).filter(|_| !after.spends(Deadline::LOOK)).count(), 2);
    }

    #[test]
    fn never_is_never() {
        for never in [Deadline::never(), Deadline::at(None)] {
            assert!(!never.spends(usize::MAX) && !never.spends(usize::MAX) && !never.passes_now());
        }
    }
}
