using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Logging.Console;

namespace OrleansCluster.Hosting;

/// <summary>
/// One line per event, for people: `12:30:01.123 warn kubelet node-1: ...`. An exception is its type and message on the same line; its stack follows,
/// indented, only for errors, which are our bugs.
/// </summary>
internal sealed class LineFormatter(TimeProvider time) : ConsoleFormatter(FormatterName)
{
    public const string FormatterName = "line";

    private const string OwnPrefix = "OrleansCluster.";

    public override void Write<TState>(in LogEntry<TState> logEntry, IExternalScopeProvider? scopeProvider, TextWriter textWriter)
    {
        var message = logEntry.Formatter(logEntry.State, logEntry.Exception);
        textWriter.Write(time.GetLocalNow().ToString("HH:mm:ss.fff"));
        textWriter.Write(' ');
        textWriter.Write(Level(logEntry.LogLevel));
        textWriter.Write(' ');
        textWriter.Write(Source(logEntry.Category));
        textWriter.Write(": ");
        textWriter.Write(message.ReplaceLineEndings(" "));
        if (logEntry.Exception is { } error)
        {
            textWriter.Write($" [{error.GetType().Name}: {error.Message.ReplaceLineEndings(" ")}]");
            if (logEntry.LogLevel >= LogLevel.Error)
                textWriter.Write(Environment.NewLine + error.StackTrace);
        }
        textWriter.Write(Environment.NewLine);
    }

    // OrleansCluster.Kubelet.Pods.PodWorker is told as Kubelet/PodWorker.
    private static string Source(string category)
    {
        var last = category[(category.LastIndexOf('.') + 1)..];
        if (!category.StartsWith(OwnPrefix, StringComparison.Ordinal))
            return last;
        var room = category[OwnPrefix.Length..];
        var dot = room.IndexOf('.', StringComparison.Ordinal);
        return dot < 0 ? room : $"{room[..dot]}/{last}";
    }

    private static string Level(LogLevel level) => level switch
    {
        LogLevel.Trace => "trace",
        LogLevel.Debug => "debug",
        LogLevel.Information => "info ",
        LogLevel.Warning => "warn ",
        LogLevel.Error => "error",
        _ => "fatal",
    };
}
