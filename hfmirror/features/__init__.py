"""Feature data sets: six files for each symbol and timeframe, published together and loaded back as arrays."""

from __future__ import annotations

from hfmirror.features.downloading import HFFeatureDownloader, download_training_features
from hfmirror.features.featureset import FeatureSet
from hfmirror.features.scaler import StandardScaler
from hfmirror.features.summary import Upload, write_summary
from hfmirror.features.uploading import upload_features, upload_many

__all__ = [
    'FeatureSet',
    'HFFeatureDownloader',
    'StandardScaler',
    'Upload',
    'download_training_features',
    'upload_features',
    'upload_many',
    'write_summary',
]
