// Latents in the browser. A point is an array of d Gaussian scores; a prior is a curve from a score to a latent:
// F^-1(Phi(score)), as knots to interpolate between, or for a discrete prior as thresholds and the values between them.

export function latent(curve, score) {
  if (curve.thresholds) return curve.values[curve.thresholds.filter((threshold) => score >= threshold).length];
  const last = curve.values.length - 1;
  const place = Math.min(Math.max((score - curve.low) / curve.step, 0), last);
  const left = Math.min(Math.floor(place), last - 1);
  return curve.values[left] + (place - left) * (curve.values[left + 1] - curve.values[left]);
}

export const latents = (curve, point) => Float64Array.from(point, (score) => latent(curve, score));

const mixed = (a, b, t) => Float64Array.from(a, (value, place) => (1 - t) * value + t * b[place]);
const norm = (vector) => Math.hypot(...vector);
const scaled = (vector, factor) => Float64Array.from(vector, (value) => factor * value);

// A point a share t of the way between two others, as likely as they are (Agustsson 2019).
export const between = (a, b, t) => scaled(mixed(a, b, t), 1 / Math.hypot(1 - t, t));

// A vector moved along others by shares of each.
export const along = (vector, directions, shares) => Float64Array.from(vector, (value, place) =>
  directions.reduce((sum, direction, which) => sum + shares[which] * direction[place], value));

// A point moved along others, brought back to its length.
export function pushed(point, directions, shares) {
  const moved = along(point, directions, shares);
  return scaled(moved, norm(point) / norm(moved));
}

function slerp(a, b, t) {
  const [u, v] = [scaled(a, 1 / norm(a)), scaled(b, 1 / norm(b))];
  const apart = norm(Float64Array.from(u, (value, place) => value - v[place]));
  const together = norm(Float64Array.from(u, (value, place) => value + v[place]));
  const angle = 2 * Math.atan2(apart, together);
  if (!(Math.sin(angle) > 1e-6)) return mixed(a, b, t);
  const shares = [Math.sin((1 - t) * angle), Math.sin(t * angle)];
  return Float64Array.from(a, (value, place) => (shares[0] * value + shares[1] * b[place]) / Math.sin(angle));
}

// Ways from one point to another: (curve, start, end, share t) -> latents, as ganlab.priors.PATHS.
export const PATHS = {
  matched: (curve, start, end, t) => latents(curve, between(start, end, t)),
  slerp: (curve, start, end, t) => slerp(latents(curve, start), latents(curve, end), t),
  lerp: (curve, start, end, t) => mixed(latents(curve, start), latents(curve, end), t),
};
