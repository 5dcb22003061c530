//! Whom to follow: the expert that has been the cheapest on the bucket's own history.

/// How much cheaper another expert must have been before it is followed.
const HYSTERESIS: f64 = 0.02;

/// What of the past counts after one period of 30 days.
const MEMORY: f64 = 0.97;

/// The experts' costs so far, and the one that is followed.
#[derive(Debug, Clone, PartialEq)]
pub struct Safeguard {
    costs: Vec<f64>,
    following: usize,
}

impl Safeguard {
    /// `start` is followed until another has proved cheaper.
    pub fn new(experts: usize, start: usize) -> Self {
        Self { costs: vec![0.0; experts], following: start }
    }

    pub fn following(&self) -> usize {
        self.following
    }

    /// Takes what a period has cost under each expert, in their order, and what is ahead of each from where it has brought the
    /// objects: an expert that has paid for moves shall not look dear for it.
    pub fn learn(&mut self, period_usd: &[f64], ahead_usd: &[f64]) {
        for (cost, period) in self.costs.iter_mut().zip(period_usd) {
            *cost = *cost * MEMORY + period;
        }
        let base = ahead_usd.iter().copied().fold(f64::INFINITY, f64::min);
        let cost = |expert: usize| self.costs[expert] + ahead_usd[expert] - base;
        let best = (0..self.costs.len()).min_by(|a, b| cost(*a).total_cmp(&cost(*b)));
        if let Some(best) = best
            && cost(best) < cost(self.following) * (1.0 - HYSTERESIS)
        {
            self.following = best;
        }
    }
}
