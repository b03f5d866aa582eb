using Microsoft.Extensions.Logging;
using OrleansCluster.Api;

namespace OrleansCluster.ControlPlane.Controllers;

public sealed partial class ControllerPump
{
    private static partial class Log
    {
        [LoggerMessage(LogLevel.Information, "{Controller}: fell behind the changes of {Resource}; looking at all objects")]
        public static partial void Behind(ILogger logger, string controller, string resource);

        [LoggerMessage(LogLevel.Warning, "{Controller}: cannot follow {Resource}; trying again")]
        public static partial void FollowFailed(ILogger logger, string controller, string resource, Exception error);

        [LoggerMessage(LogLevel.Error, "{Controller}: its pump failed and will be started again")]
        public static partial void Broken(ILogger logger, string controller, Exception error);

        [LoggerMessage(LogLevel.Error, "{Controller}: mapping the change of {Key} failed; the change wakes nobody")]
        public static partial void MapFailed(ILogger logger, string controller, ObjectKey key, Exception error);

        [LoggerMessage(LogLevel.Information, "{Controller}: the call for {Key} failed and will be repeated: {Error}")]
        public static partial void CallFailed(ILogger logger, string controller, ObjectKey key, string error);

        [LoggerMessage(LogLevel.Information, "{Controller}: acknowledging failed and will be repeated: {Error}")]
        public static partial void AcknowledgeFailed(ILogger logger, string controller, string error);
    }
}
