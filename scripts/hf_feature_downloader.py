"""Download features as the guide to the training does it.

    from hf_feature_downloader import download_training_features
    features = download_training_features(symbol='BTCUSDT', timeframes=['15m', '1h'])

The repository is the one that config.yaml names, or that was last pushed from the working directory; or it is given as
``repo_id``. The scaler is loaded with ``allow_pickle=True`` only. See docs/features.md.
"""

from hfmirror.features import HFFeatureDownloader, download_training_features

__all__ = ['HFFeatureDownloader', 'download_training_features']
