namespace OrleansCluster;

/// <summary>What an exception of a grain call says about the call.</summary>
public static class GrainCalls
{
    /// <summary>
    /// True if nobody answered, so that another call may: a silo is dying, its grains are on their way to others, or none is connected. Everything that
    /// the runtime itself throws counts: which of its exceptions a leaving silo causes depends on how far it has got, and grains answer with values.
    /// </summary>
    public static bool IsUnavailable(Exception error) =>
        error is TimeoutException or OrleansException || IsNotSent(error);

    /// <summary>True if the call has certainly not been sent: this process has not reached any silo since its start, so no interface has an implementation.</summary>
    public static bool IsNotSent(Exception error) =>
        error is ArgumentException && error.Message.StartsWith("Could not find an implementation", StringComparison.Ordinal);
}
