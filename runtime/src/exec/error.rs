//! Why an execution stops.

/// Why a circuit cannot be executed on given inputs and weights.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// The number of inputs differs.
    #[error("the circuit has {expected} inputs, {given} were given")]
    InputCount {
        /// Of the entry.
        expected: usize,
        /// In the request.
        given: usize,
    },
    /// An input has another number of values than its shape at these dimensions.
    #[error("input '{name}' has {expected} values at these dimensions, {given} were given")]
    InputLen {
        /// The input.
        name: String,
        /// Product of its axes.
        expected: usize,
        /// Number of values given.
        given: usize,
    },
    /// An input value is outside of the range for which bounds are proved.
    #[error("input '{name}' is {value} at position {position}, {by} outside of [{lo}, {hi}]")]
    InputRange {
        /// The input.
        name: String,
        /// Row-major position.
        position: usize,
        /// The integer.
        value: i32,
        /// Smallest accepted.
        lo: i32,
        /// Largest accepted.
        hi: i32,
        /// Distance to the nearer end.
        by: u32,
    },
    /// The table of a private input has no row for a value within the input's range.
    #[error("private input '{name}' is {value} at position {position}, for which table '{table}' has no row")]
    InputTable {
        /// The input.
        name: String,
        /// Row-major position.
        position: usize,
        /// The integer.
        value: i32,
        /// The table.
        table: String,
    },
    /// The cache is of other links than the instance.
    #[error("the cache has links of the lengths {given:?}, the run continues links of {expected:?}")]
    CacheLinks {
        /// Of the instance.
        expected: Vec<u32>,
        /// In the cache.
        given: Vec<u32>,
    },
    /// Cells of the cache do not fit the circuit.
    #[error("what link {link} appended to the cache is of another circuit, or damaged")]
    CacheCells {
        /// The link, from 0.
        link: u16,
    },
    /// The number of weights differs.
    #[error("the circuit has {expected} weights, {given} were given")]
    WeightCount {
        /// Of the circuit.
        expected: usize,
        /// In the request.
        given: usize,
    },
    /// A weight has another number of values than its shape.
    #[error("weight '{name}' has {expected} values, {given} were given")]
    WeightLen {
        /// The weight.
        name: String,
        /// Product of its axes.
        expected: usize,
        /// Number of values given.
        given: usize,
    },
    /// A right side leaves (-2^30, 2^30). The circuit's checks exclude it for checked weights and inputs.
    #[error("'{equation}' evaluates to {value} at position {position}, outside of (-2^30, 2^30)")]
    Overflow {
        /// The equation.
        equation: String,
        /// Row-major position.
        position: usize,
        /// The value.
        value: i64,
    },
    /// A value is beyond the table of a partial equation: the table covers what calibration measured, with headroom.
    #[error(
        "'{layer}' reaches {percent} % of what its table covers, at position {position}: this input leads beyond what \
         calibration measured; calibrate with inputs like it"
    )]
    Uncalibrated {
        /// The equation.
        layer: String,
        /// Row-major position.
        position: usize,
        /// Distance from the middle of the table, of half its length.
        percent: u64,
    },
    /// A cell is no key of its table. The circuit's checks exclude it for checked weights and inputs.
    #[error("cell {position} of '{segment}' is {value}, which is no key of {table}")]
    Cell {
        /// The segment or virtual site.
        segment: String,
        /// Row-major position.
        position: usize,
        /// The cell's value.
        value: i64,
        /// The table, with its number of keys.
        table: String,
    },
    /// Every position of a masked maximum is hidden: it has no value.
    #[error(
        "every position of '{site}' is hidden for maximum {position}: a row needs a position that its masks leave visible"
    )]
    Hidden {
        /// The virtual site.
        site: String,
        /// Row-major position among the maxima.
        position: usize,
    },
    /// A repetition runs over a tensor whose first axis has another length.
    #[error("'{name}' is repeated {count} times, its first axis has length {len:?}")]
    Repeat {
        /// The equation or site.
        name: String,
        /// Number of repetitions.
        count: u32,
        /// Length of the first axis, if there is one.
        len: Option<usize>,
    },
}
