using Microsoft.Extensions.Logging;

namespace OrleansCluster.Storage;

public sealed partial class RedisObjectStore
{
    internal static partial class Log
    {
        [LoggerMessage(1, LogLevel.Warning, "Redis connection '{Purpose}' to {EndPoint} failed ({Reason}); it is made anew.")]
        public static partial void ConnectionFailed(ILogger logger, string purpose, string endPoint, string reason);

        [LoggerMessage(2, LogLevel.Information, "Redis connection '{Purpose}' to {EndPoint} works again.")]
        public static partial void ConnectionRestored(ILogger logger, string purpose, string endPoint);

        [LoggerMessage(
            3, LogLevel.Warning,
            "{Resource}: writes may have been lost. Epoch {Epoch} begins at revision {Revision} (run {Run}); watchers start from new lists.")]
        public static partial void EpochBegun(ILogger logger, string resource, long epoch, long revision, string run);

        [LoggerMessage(4, LogLevel.Information, "{Resource}: Redis runs as {Run} now; epoch {Epoch} goes on at revision {Revision}.")]
        public static partial void Reopened(ILogger logger, string resource, string run, long epoch, long revision);

        [LoggerMessage(
            5, LogLevel.Warning,
            "Redis at {Address} is not set to `appendonly yes` and `appendfsync always`: acknowledged writes may be lost when it stops, and each restart makes watchers start from new lists.")]
        public static partial void NotDurable(ILogger logger, string address);

        [LoggerMessage(6, LogLevel.Warning, "The blocking read '{Purpose}' failed; next attempt in {Delay}.")]
        public static partial void TailFailed(ILogger logger, Exception exception, string purpose, TimeSpan delay);

        [LoggerMessage(7, LogLevel.Warning, "Compaction of {Resource} failed; it is tried again in {Interval}.")]
        public static partial void CompactionFailed(ILogger logger, Exception exception, string resource, TimeSpan interval);
    }
}
