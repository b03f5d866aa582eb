using Microsoft.Extensions.Logging;

namespace OrleansCluster.Storage;

public sealed partial class SqliteObjectStore
{
    internal static partial class Log
    {
        [LoggerMessage(1, LogLevel.Error, "A group of {Requests} writes failed; their outcome is unknown.")]
        public static partial void GroupFailed(ILogger logger, Exception exception, int requests);

        [LoggerMessage(2, LogLevel.Warning, "The database was opened anew after a failed write.")]
        public static partial void Reopened(ILogger logger);

        [LoggerMessage(3, LogLevel.Warning, "Closing the database failed; the next start recovers it from its write-ahead file.")]
        public static partial void CloseFailed(ILogger logger, Exception exception);

        [LoggerMessage(4, LogLevel.Warning, "Compaction failed; it is tried again in {Interval}.")]
        public static partial void CompactionFailed(ILogger logger, Exception exception, TimeSpan interval);
    }
}
