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
        StoreUnavailableException store => store.Message,
        AggregateException { InnerExceptions: [var inner] } => Explain(inner),
        _ => null,
    };
}
