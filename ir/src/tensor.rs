//! Dense row-major tensors: constants, weights, and values of the interpreter.

/// A dense tensor, row-major; `data.len()` is the product of `shape`.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor<T> {
    /// Length of each axis, outermost first.
    pub shape: Vec<usize>,
    /// Elements, last axis fastest.
    pub data: Vec<T>,
}

/// A tensor of `f32`: how weights are stored.
pub type TensorF32 = Tensor<f32>;

impl<T> Tensor<T> {
    /// A tensor; `None` where the number of elements is not the product of the axes.
    pub fn new(shape: Vec<usize>, data: Vec<T>) -> Option<Self> {
        let numel = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
        (numel == data.len()).then_some(Tensor { shape, data })
    }

    /// A tensor of rank 0.
    pub fn scalar(value: T) -> Self {
        Tensor {
            shape: Vec::new(),
            data: vec![value],
        }
    }

    /// Applies `f` to every element.
    pub fn map<U>(&self, f: impl FnMut(&T) -> U) -> Tensor<U> {
        Tensor {
            shape: self.shape.clone(),
            data: self.data.iter().map(f).collect(),
        }
    }
}

/// Row-major strides of `shape`, in elements.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut out = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        out[i - 1] = out[i] * shape[i];
    }
    out
}

/// Calls `f` with every index of `shape` in row-major order.
pub(crate) fn for_each_index(shape: &[usize], mut f: impl FnMut(&[usize])) {
    if shape.contains(&0) {
        return;
    }
    let mut index = vec![0; shape.len()];
    loop {
        f(&index);
        let mut axis = shape.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}
