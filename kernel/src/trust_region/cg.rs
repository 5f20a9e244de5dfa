//! Conjugate gradients (Hestenes and Stiefel 1952) for (F + damping I) x = g, g the gradient of the surrogate.
use super::{Error, Policy, Settings, Work};

/// What was solved.
pub(super) struct Solved {
    /// Products with F.
    pub iters: usize,
    /// |residual| / |gradient|.
    pub residual: f64,
    /// x' (F + damping I) x.
    pub curvature: f64,
}

/// Solves for `work.x` from x = 0. None where the gradient is zero.
pub(super) fn solve<P: Policy>(
    policy: &mut P,
    settings: &Settings,
    work: &mut Work<P::Vector>,
) -> Result<Option<Solved>, Error<P::Error>> {
    let Work { x, r, p, ap } = work;
    // The loss is minus the surrogate.
    for (y, alpha) in [(&mut *x, 0.0), (&mut *r, -1.0), (&mut *p, -1.0)] {
        policy.zero(y);
        if alpha != 0.0 {
            policy.axpy(y, alpha, policy.gradient());
        }
    }
    let square = policy.dot(r, r)?;
    if !square.is_finite() {
        return Err(Error::Gradient);
    }
    if square == 0.0 {
        return Ok(None);
    }
    let (mut rr, mut iters) = (square, 0);
    let enough = settings.cg_tolerance * settings.cg_tolerance * square;
    let positive = |iteration, value: f64| {
        if value > 0.0 && value.is_finite() {
            Ok(value)
        } else {
            Err(Error::Curvature { iteration, value })
        }
    };
    while iters < settings.cg_iters && rr > enough {
        policy.fisher(ap, p)?;
        policy.axpy(ap, settings.cg_damping, p);
        let alpha = rr / positive(iters, policy.dot(p, ap)?)?;
        policy.axpy(x, alpha, p);
        policy.axpy(r, -alpha, ap);
        let next = policy.dot(r, r)?;
        policy.scale(p, next / rr);
        policy.axpy(p, 1.0, r);
        rr = next;
        iters += 1;
    }
    // A x = g - r.
    let curvature = -policy.dot(x, policy.gradient())? - policy.dot(x, r)?;
    Ok(Some(Solved {
        iters,
        residual: libm::sqrt(rr / square),
        curvature: positive(iters, curvature)?,
    }))
}
