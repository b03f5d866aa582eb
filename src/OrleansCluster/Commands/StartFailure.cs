using Microsoft.Extensions.Options;
using OrleansCluster.Storage;

namespace OrleansCluster.Commands;

/// <summary>Failures of the start that the operator can do something about, told in one line each; anything else is a bug and keeps its stack.</summary>
internal static class StartFailure
{
    public static string? Explain(Exception error) => error switch
    {
        OptionsValidationException options => string.Join(Environment.NewLine, options.Failures),
        IOException { InnerException: Microsoft.AspNetCore.Connections.AddressInUseException } address =>
            address.Message + " Stop what listens there, or choose another port with --port.",
        UnauthorizedAccessException access => access.Message + " Choose a folder you may write to with --data.",
        DirectoryNotFoundException or IOException => error.Message + " Choose another folder with --data.",
        StoreUnavailableException store => store.Message,
        StartException start => start.Message,
        AggregateException { InnerExceptions: [var inner] } => Explain(inner),
        _ => null,
    };
}

/// <summary>A start that cannot succeed as it was asked for; the message says what to do.</summary>
internal sealed class StartException(string message) : Exception(message);
