//! The list of diagnostic codes, each with its title and its long explanation.
//!
//! A code never changes its meaning and is never used again for another. The explanations are files in `explain/`; a test
//! compiles the example of each and checks that it triggers that code and no other, and that the mended one does not.

use std::fmt;

macro_rules! codes {
    ($($code:ident $title:literal;)*) => {
        /// A diagnostic code, `E0203`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $title] $code,)*
        }

        impl Code {
            /// Every code, in order.
            pub const ALL: &'static [Code] = &[$(Code::$code,)*];

            /// The code as it is written, `E0203`.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$code => stringify!($code),)* }
            }

            /// A few words: what this code is about.
            pub fn title(self) -> &'static str {
                match self { $(Code::$code => $title,)* }
            }

            /// The long form, in Markdown, with an example and its mend.
            pub fn explanation(self) -> &'static str {
                match self { $(Code::$code => include_str!(concat!("explain/", stringify!($code), ".md")),)* }
            }
        }
    };
}

codes! {
    E0001 "unknown character";
    E0002 "unterminated string";
    E0003 "malformed number";
    E0004 "malformed string";
    E0005 "unreadable source";
    E0006 "nested too deeply";
    E0101 "unexpected token";
    E0102 "not a declaration";
    E0103 "expected an expression";
    E0104 "unclosed delimiter";
    E0105 "chained comparison";
    E0201 "unknown module";
    E0202 "no such item in module";
    E0203 "unknown name";
    E0204 "defined twice";
    E0205 "import cycle";
    E0206 "wrong sort of name";
    E0207 "recursion";
    E0301 "kind mismatch";
    E0302 "shape mismatch";
    E0303 "missing argument";
    E0304 "unexpected argument";
    E0305 "shapes do not broadcast";
    E0306 "no such axis";
    E0307 "malformed einsum";
    E0308 "reshape changes the number of elements";
    E0309 "index out of range";
    E0310 "result differs from its declaration";
    E0311 "dimension cannot be inferred";
    E0312 "invalid operator parameter";
    E0401 "config has no value";
    E0402 "config value of another kind";
    E0403 "constraint does not hold";
    E0404 "division with a remainder";
    E0405 "not known at compile time";
    E0406 "arithmetic out of range";
    E0407 "unknown config";
    E0408 "no arm matches";
    E0501 "malformed weight binding";
    E0502 "repeat index outside a template";
    E0503 "one name bound to two shapes";
    E0504 "weight not in the file";
    E0505 "weight of another shape in the file";
    E0506 "presence of a weight is unknown";
    E0507 "value may be none";
    E0601 "no model";
    E0602 "no entry";
    E0603 "not an output";
    E0604 "misused state";
    E0605 "carried value changes";
    E0701 "not a formula";
    E0801 "unknown annotation";
    E0802 "invalid annotation argument";
}

impl Code {
    /// The code of this name, in either case.
    pub fn parse(text: &str) -> Option<Code> {
        Code::ALL
            .iter()
            .copied()
            .find(|c| c.as_str().eq_ignore_ascii_case(text.trim()))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
