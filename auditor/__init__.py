"""auditor: audits zoos of image classifiers for adversarial robustness."""
